//! Cold start, reload, memory and wake-ups, with one port.

use std::thread::sleep;
use std::time::Duration;

use super::{Comparison, announce, colour, megabytes, milliseconds, stop_all};
use crate::candidate::{Candidate, STATIC, Setup, Wait};
use crate::plot::{Bar, Unit, bars};
use crate::proc;
use crate::report::{Figure, Plot, Section, extreme, median, table_of};
use crate::running::Serving;

const ABOUT: &str = "\
Times are from exec to the first answer; from HUP to the end of the old worker, and to an answer of the new one\n\
after that, which is what the picture shows. With `--ready=notify` the new worker says that it is ready; who does\n\
not listen to that is left with its default interval of one second. In an interval of 0 a worker counts as ready\n\
when it has been forked. Half of the memory of ours is libc and its loader, shared with other programs, as in the\n\
floor's row; `ours, static` is the program of `packaging/build static`, which has neither.";

/// How many samples of each.
struct Rounds {
    cold: usize,
    reload: usize,
    reload_interval_1: usize,
    reload_by_word: usize,
    idle: usize,
    /// How long the supervisors are watched at rest, in seconds.
    watch: u64,
}

const FULL: Rounds = Rounds {
    cold: 100,
    reload: 100,
    reload_interval_1: 10,
    reload_by_word: 30,
    idle: 3,
    watch: 5,
};
const QUICK: Rounds = Rounds {
    cold: 8,
    reload: 10,
    reload_interval_1: 1,
    reload_by_word: 1,
    idle: 1,
    watch: 1,
};

/// A kind of reload.
struct Reloads {
    gone: Figure,
    answered: Figure,
    after_word: Figure,
}

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let rounds = bench.quick_or(QUICK, FULL);
    let cold = bench.cold("cold start", rounds.cold)?;
    let at_once = bench.reloads("reload, interval 0", Wait::Interval(0), rounds.reload)?;
    let second = bench.reloads(
        "reload, interval 1",
        Wait::Interval(1),
        rounds.reload_interval_1,
    )?;
    let word = bench.reloads(
        "reload when the new worker is ready",
        Wait::Word,
        rounds.reload_by_word,
    )?;
    let idle = bench.idle(rounds.idle, rounds.watch)?;

    let mut section = Section::new("Start, reload, memory, idling", ABOUT);
    section.plots.push(picture(&at_once, &second, &word));
    let mut figures = vec![
        cold,
        at_once.gone,
        at_once.answered,
        second.gone,
        word.gone,
        word.after_word,
    ];
    figures.extend(idle);
    section.tables.push(table_of(&figures));
    Ok(section)
}

/// What a reload takes, side by side.
fn picture(at_once: &Reloads, second: &Reloads, word: &Reloads) -> Plot {
    let bar = |reloads: &Reloads, candidate: &str, how: &str| {
        let rows = reloads.answered.rows().iter();
        rows.filter(|(label, _)| label == candidate)
            .map(|(label, samples)| Bar {
                label: format!("{label}, {how}"),
                colour: colour(label),
                least: extreme(samples, f64::min),
                value: median(samples),
                most: extreme(samples, f64::max),
            })
            .collect::<Vec<_>>()
    };
    let mut all = bar(word, "ours", "--ready=notify");
    all.extend(bar(at_once, "ours", "--interval=0"));
    for (label, _) in at_once.answered.rows() {
        if !["ours", STATIC].contains(&label.as_str()) {
            all.extend(bar(at_once, label, "--interval=0"));
        }
    }
    for (label, _) in second.answered.rows() {
        if label != STATIC {
            all.extend(bar(second, label, "--interval=1, the default"));
        }
    }
    let medians: Vec<_> = all
        .iter()
        .map(|bar| format!("{}: {}", bar.label, Unit::Milliseconds.write(bar.value)))
        .collect();
    let title = "A reload: from HUP until the old worker has gone and the new one answers";
    Plot {
        file: "reload.svg",
        alt: format!("{title}. {}", medians.join("; ")),
        svg: bars(title, Unit::Milliseconds, &all),
    }
}

impl Comparison<'_> {
    /// From the spawn to the first answer.
    fn cold(&self, title: &str, rounds: usize) -> Result<Figure, String> {
        announce(title, rounds);
        let mut figure = Figure::new(title, "ms", 2);
        for round in 0..=rounds {
            for (index, candidate) in self.candidates.iter().enumerate() {
                let setup = Setup::new(self.ports.of(index), Wait::Default);
                let (serving, took) = Serving::start(candidate, setup)?;
                serving.stop()?;
                if round > 0 {
                    figure.add(&candidate.label, milliseconds(took));
                }
            }
        }
        Ok(figure)
    }

    /// From HUP to the old worker's end, and to the new one's answer; and from the new one's word on, if it counts.
    fn reloads(&self, title: &str, wait: Wait, rounds: usize) -> Result<Reloads, String> {
        announce(title, rounds);
        let figure = |title: &str| Figure::new(title, "ms", 2);
        let mut reloads = Reloads {
            gone: figure(&format!("{title}: old worker gone")),
            answered: figure(&format!("{title}: new worker answers")),
            after_word: figure("from READY=1 to the old worker's end"),
        };
        let mut all = self.start_all(wait, Candidate::reloads)?;
        // Round 0 warms up and is not counted; where a round takes whole seconds, it would make no difference.
        let first = usize::from(!matches!(wait, Wait::Interval(0)));
        for round in first..=rounds {
            for (label, serving) in &mut all {
                let reload = serving.reload()?;
                if round > 0 {
                    reloads.gone.add(label, milliseconds(reload.gone));
                    reloads.answered.add(label, milliseconds(reload.answered));
                    if let Some(took) = reload.after_word {
                        reloads.after_word.add(label, milliseconds(took));
                    }
                }
            }
        }
        stop_all(all)?;
        Ok(reloads)
    }

    /// What the supervisors take while there is nothing to do: memory, and wake-ups.
    fn idle(&self, rounds: usize, watch: u64) -> Result<[Figure; 3], String> {
        announce("memory and wake-ups at rest", rounds);
        let mut rss = Figure::new("memory, VmRSS", "MB", 2);
        let mut pss = Figure::new("memory, Pss", "MB", 2);
        let mut wakeups = Figure::new(&format!("wake-ups in {watch} s"), "", 0);
        for _ in 0..rounds {
            let mut all = self.start_all(Wait::Interval(0), |_| true)?;
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
            sleep(Duration::from_secs(watch));
            for ((label, serving), before) in all.iter().zip(before) {
                let after = proc::switches(serving.pid())?;
                wakeups.add(label, after.saturating_sub(before) as f64);
            }
            stop_all(all)?;
        }
        Ok([rss, pss, wakeups])
    }
}
