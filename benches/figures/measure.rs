//! The figures, one after the other; in each, the contenders take turns.

use std::thread::sleep;
use std::time::Duration;

use crate::contender::{Contender, Wait};
use crate::nursery::DESCRIPTORS;
use crate::ports::{BLOCK, Ports};
use crate::proc;
use crate::running::Serving;
use crate::table::{Figure, median};

/// How long the supervisors are watched at rest.
const IDLE: Duration = Duration::from_secs(5);

/// How many samples of each.
struct Rounds {
    cold: usize,
    cold_many: usize,
    reload: usize,
    reload_many: usize,
    reload_interval_1: usize,
    reload_by_word: usize,
    idle: usize,
}

const FULL: Rounds = Rounds {
    cold: 100,
    cold_many: 30,
    reload: 100,
    reload_many: 40,
    reload_interval_1: 10,
    reload_by_word: 30,
    idle: 3,
};
const QUICK: Rounds = Rounds {
    cold: 10,
    cold_many: 5,
    reload: 10,
    reload_many: 5,
    reload_interval_1: 2,
    reload_by_word: 3,
    idle: 1,
};

/// What a run has found out so far.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) figures: Vec<Figure>,
    /// Sentences that belong under the table.
    pub(crate) notes: Vec<String>,
}

/// Measures everything; what was measured before an error stays in `results`.
pub(crate) fn all(
    contenders: &[Contender],
    quick: bool,
    results: &mut Results,
) -> Result<(), String> {
    let bench = Bench {
        contenders,
        ports: Ports::find(contenders.len())?,
    };
    let rounds = if quick { QUICK } else { FULL };
    let many = proc::open_files().is_none_or(|(soft, _)| soft >= DESCRIPTORS);
    if !many {
        results.notes.push(format!(
            "No figures with 1,000 ports: fewer than {DESCRIPTORS} descriptors are allowed."
        ));
    }

    results
        .figures
        .push(bench.cold("cold start, 1 port", 1, rounds.cold)?);
    if many {
        results
            .figures
            .push(bench.cold("cold start, 1,000 ports", BLOCK, rounds.cold_many)?);
    }

    let [gone, answers] = bench.reloads("reload, interval 0, 1 port", 1, 0, rounds.reload)?;
    let one = bench.medians(&answers);
    results.figures.extend([gone, answers]);
    if many {
        let [gone, answers] = bench.reloads(
            "reload, interval 0, 1,000 ports",
            BLOCK,
            0,
            rounds.reload_many,
        )?;
        let ratios = bench.medians(&answers).into_iter().zip(one);
        let ratios = ratios.map(|((label, many), (_, one))| format!("{label} {:.2}", many / one));
        results.notes.push(format!(
            "Reload until the new worker answers, 1,000 ports over 1 port: {}.",
            ratios.collect::<Vec<_>>().join(", ")
        ));
        results.figures.extend([gone, answers]);
    }
    let [gone, _] = bench.reloads("reload, interval 1, 1 port", 1, 1, rounds.reload_interval_1)?;
    results.figures.push(gone);
    results
        .figures
        .extend(bench.reloads_by_word(rounds.reload_by_word)?);

    results.figures.extend(bench.idle(rounds.idle)?);
    Ok(())
}

struct Bench<'a> {
    contenders: &'a [Contender],
    ports: Ports,
}

impl Bench<'_> {
    /// From the spawn to the first answer.
    fn cold(&self, title: &str, ports: u16, rounds: usize) -> Result<Figure, String> {
        announce(title, rounds);
        let mut figure = Figure::new(title, "ms", 2);
        for round in 0..=rounds {
            for (index, contender) in self.contenders.iter().enumerate() {
                let (serving, took) =
                    Serving::start(contender, self.ports.of(index, ports), Wait::Default)?;
                serving.stop()?;
                if round > 0 {
                    figure.add(&contender.label, milliseconds(took));
                }
            }
        }
        Ok(figure)
    }

    /// From HUP to the old worker's end, and to the new one's answer.
    fn reloads(
        &self,
        title: &str,
        ports: u16,
        interval: u32,
        rounds: usize,
    ) -> Result<[Figure; 2], String> {
        announce(title, rounds);
        let mut gone = Figure::new(&format!("{title}: old worker gone"), "ms", 2);
        let mut answered = Figure::new(&format!("{title}: new worker answers"), "ms", 2);
        let mut all = self.start_all(ports, Wait::Interval(interval), Contender::reloads)?;
        // Round 0 warms up and is not counted; where a round takes whole seconds, it would make no difference.
        let first = usize::from(interval > 0);
        for round in first..=rounds {
            for (label, serving) in &mut all {
                let reload = serving.reload()?;
                if round > 0 {
                    gone.add(label, milliseconds(reload.gone));
                    answered.add(label, milliseconds(reload.answered));
                }
            }
        }
        stop_all(all)?;
        Ok([gone, answered])
    }

    /// The same when nothing is left to chance: the old worker goes when the new one is known to serve, by its own word
    /// where that is listened to.
    fn reloads_by_word(&self, rounds: usize) -> Result<[Figure; 2], String> {
        let title = "reload when the new worker is ready";
        announce(title, rounds);
        let mut gone = Figure::new(&format!("{title}: old worker gone"), "ms", 2);
        let mut after = Figure::new("from READY=1 to the old worker's end", "ms", 2);
        let mut all = self.start_all(1, Wait::Word, Contender::reloads)?;
        for _ in 0..rounds {
            for (label, serving) in &mut all {
                let reload = serving.reload()?;
                gone.add(label, milliseconds(reload.gone));
                if let Some(took) = reload.after_word {
                    after.add(label, milliseconds(took));
                }
            }
        }
        stop_all(all)?;
        Ok([gone, after])
    }

    /// What the supervisors take while there is nothing to do: memory, and wake-ups.
    fn idle(&self, rounds: usize) -> Result<[Figure; 3], String> {
        announce("memory and wake-ups at rest", rounds);
        let mut rss = Figure::new("memory, VmRSS", "MB", 2);
        let mut pss = Figure::new("memory, Pss", "MB", 2);
        let mut wakeups = Figure::new(&format!("wake-ups in {} s", IDLE.as_secs()), "", 0);
        for _ in 0..rounds {
            let mut all = self.start_all(1, Wait::Interval(0), |_| true)?;
            // Code that only a reload pages in counts, too.
            for (_, serving) in all.iter_mut().filter(|(_, serving)| serving.reloads()) {
                serving.reload()?;
            }
            let mut before = Vec::new();
            for (label, serving) in &all {
                rss.add(label, megabytes(proc::rss(serving.pid())?));
                if let Some(kilobytes) = proc::pss(serving.pid()) {
                    pss.add(label, megabytes(kilobytes));
                }
                before.push(proc::switches(serving.pid())?);
            }
            sleep(IDLE);
            for ((label, serving), before) in all.iter().zip(before) {
                let after = proc::switches(serving.pid())?;
                wakeups.add(label, after.saturating_sub(before) as f64);
            }
            stop_all(all)?;
        }
        Ok([rss, pss, wakeups])
    }

    /// Starts everyone who is wanted, each on its own ports, and waits until the interval has passed and all are at rest.
    fn start_all(
        &self,
        ports: u16,
        wait: Wait,
        wanted: fn(&Contender) -> bool,
    ) -> Result<Vec<(&str, Serving<'_>)>, String> {
        let mut all = Vec::new();
        for (index, contender) in self
            .contenders
            .iter()
            .enumerate()
            .filter(|(_, contender)| wanted(contender))
        {
            let (serving, _) = Serving::start(contender, self.ports.of(index, ports), wait)?;
            all.push((&*contender.label, serving));
        }
        sleep(match wait {
            Wait::Default | Wait::Word => Duration::from_secs(1),
            Wait::Interval(seconds) => Duration::from_secs(seconds.into()),
        });
        for (_, serving) in &all {
            serving.rest()?;
        }
        Ok(all)
    }

    /// The medians of a figure, by contender.
    fn medians(&self, figure: &Figure) -> Vec<(String, f64)> {
        figure
            .rows()
            .iter()
            .map(|(label, samples)| (label.clone(), median(samples)))
            .collect()
    }
}

fn stop_all(all: Vec<(&str, Serving<'_>)>) -> Result<(), String> {
    all.into_iter().try_for_each(|(_, serving)| serving.stop())
}

/// Tells someone who waits what is going on.
fn announce(title: &str, rounds: usize) {
    eprintln!(
        "{title}: {rounds} round{}",
        if rounds == 1 { "" } else { "s" }
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// From the kernel's kB, which are of 1,024 bytes.
fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}
