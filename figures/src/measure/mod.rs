//! The figures, one part after the other; in each, the candidates take turns.

mod control_clients;
mod draining;
mod load;
mod ports;
mod reloads;
mod start;

use std::thread::sleep;
use std::time::Duration;

use crate::candidate::{Candidate, Setup, Wait};
use crate::options::Options;
use crate::ports::Ports;
use crate::report::Section;
use crate::running::Serving;

/// The parts, as `--only` names them.
pub(crate) const PARTS: [&str; 6] = [
    "start",
    "ports",
    "load",
    "control-clients",
    "reloads",
    "draining",
];

/// Measures everything that is wanted; what was measured before an error stays in `sections`.
pub(crate) fn all(
    candidates: &[Candidate],
    options: &Options,
    sections: &mut Vec<Section>,
) -> Result<(), String> {
    let bench = |candidates| -> Result<_, String> {
        Ok(Comparison {
            candidates,
            ports: Ports::find(candidates.len())?,
            quick: options.quick,
        })
    };
    // It differs in how it is loaded alone.
    let dynamic = match candidates.split_last() {
        Some((last, others)) if last.is_static() => others,
        _ => candidates,
    };
    let measures = [
        start::measure,
        ports::measure,
        load::measure,
        control_clients::measure,
        reloads::measure,
        draining::measure,
    ];
    for (part, measure) in PARTS.iter().zip(measures) {
        if options.wants(part) {
            let candidates = if *part == "start" {
                candidates
            } else {
                dynamic
            };
            sections.push(measure(&bench(candidates)?)?);
        }
    }
    Ok(())
}

/// Who is compared, and where.
struct Comparison<'a> {
    candidates: &'a [Candidate],
    ports: Ports,
    /// Few rounds.
    quick: bool,
}

impl Comparison<'_> {
    /// The one in a quick run, the other in a full one.
    fn quick_or<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Those who can reload, each with its port.
    fn reloading(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let all = self.candidates.iter().enumerate();
        all.filter(|(_, candidate)| candidate.reloads())
    }

    fn ours(&self) -> Result<(usize, &Candidate), String> {
        let mut all = self.reloading();
        all.find(|(_, candidate)| candidate.is_ours())
            .ok_or_else(|| "ours is not there".to_owned())
    }

    /// Starts everyone who is wanted, each on a port of its own, and waits until the interval has passed and all are at
    /// rest.
    fn start_all(
        &self,
        wait: Wait,
        wanted: fn(&Candidate) -> bool,
    ) -> Result<Vec<(&str, Serving<'_>)>, String> {
        let mut all = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            if wanted(candidate) {
                let setup = Setup::new(self.ports.of(index), wait);
                let (serving, _) = Serving::start(candidate, setup)?;
                all.push((&*candidate.label, serving));
            }
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

/// The colour of a candidate's curves and bars.
fn colour(label: &str) -> usize {
    match label {
        "ours" => 0,
        "Perl" => 1,
        "floor" => 2,
        _ => 3,
    }
}
