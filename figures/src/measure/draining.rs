//! What it costs that many generations drain at once.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Comparison, announce, megabytes, milliseconds};
use crate::candidate::{Candidate, Setup, Wait};
use crate::plot::Unit;
use crate::proc;
use crate::report::{Section, Table, median};
use crate::running::{PATIENCE, Running, signal};
use crate::workers::Role;

const ABOUT: &str = "\
Reloads with an interval of 0, of workers that stay as long as a client does; each has one that does not go. From\n\
HUP to the first answer of the new generation, on a connection that is tried again as long as an old one takes\n\
it. In the end all clients go at once, and so do all generations but the last.";

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let generations = bench.quick_or(40, 1_000);
    let header = [
        "candidate",
        "draining",
        "a reload, ms",
        "supervisor's processor time, ms",
        "VmRSS, MB",
        "descriptors",
    ];
    let mut table = Table::new(&header, 1);
    let mut section = Section::new("Generations that drain", ABOUT);
    for (index, candidate) in bench.reloading() {
        announce(
            &format!("generations of {} that drain", candidate.label),
            generations,
        );
        table.block();
        let setup = Setup::with(bench.ports.of(index), Wait::Interval(0), Role::Drains);
        let (mut running, _) = Running::start(candidate, setup)?;
        let outcome = drain(candidate, &mut running, generations, &mut table);
        section.notes.push(match outcome {
            Ok(note) => note,
            Err(reason) if candidate.is_ours() => return Err(running.blame(&reason)),
            // Perl's may lose a HUP.
            Err(reason) => format!("{} did not get through: {reason}.", candidate.label),
        });
        signal(running.pid() as i32, Signal::SIGTERM)?;
        running.wait().map_err(|reason| running.blame(&reason))?;
    }
    section.tables.push(table);
    Ok(section)
}

/// Adds the rows; what became of it in the end.
fn drain(
    candidate: &Candidate,
    running: &mut Running,
    generations: usize,
    table: &mut Table,
) -> Result<String, String> {
    let mut current = running.first_answer()?;
    let mut clients: Vec<TcpStream> = Vec::new();
    let pid = running.pid();
    let step = generations / 4;
    let mut times = Vec::new();
    let mut before = proc::processor_time(pid)?;
    let row = |draining: usize, times: &[f64], worked: f64| {
        Ok::<_, String>([
            candidate.label.clone(),
            Unit::Count.write(draining as f64),
            format!("{:.2}", median(times)),
            format!("{:.2}", worked * 1e3 / times.len() as f64),
            format!("{:.2}", megabytes(proc::rss(pid)?)),
            proc::descriptors(pid)?.to_string(),
        ])
    };
    for draining in 1..=generations {
        let started = Instant::now();
        signal(pid as i32, Signal::SIGHUP)?;
        let next = loop {
            let next = running.connect()?;
            if next.answer.generation > current.answer.generation {
                break next;
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("no new generation after HUP {draining}"));
            }
        };
        times.push(milliseconds(started.elapsed()));
        clients.push(std::mem::replace(&mut current, next).connection);
        // The first one, and each quarter: of the reloads since then.
        if draining == 1 || draining % step == 0 {
            let worked = proc::processor_time(pid)? - before;
            table.row(row(draining, &times, worked)?);
            times.clear();
            before = proc::processor_time(pid)?;
        }
        proc::wait_for_rest(pid, Duration::from_millis(1))?;
    }
    let before = proc::processor_time(pid)?;
    let started = Instant::now();
    drop(clients);
    while proc::children(pid).len() > 1 {
        if started.elapsed() > PATIENCE {
            return Err("old workers are still there".to_owned());
        }
        sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    proc::wait_for_rest(pid, Duration::from_millis(25))?;
    let worked = proc::processor_time(pid)? - before;
    let note = format!(
        "{}: {generations} generations have gone within {}, for which the supervisor has worked {}; then it has \
         {:.2} MB and {} descriptors.",
        candidate.label,
        Unit::Milliseconds.write(milliseconds(took)),
        Unit::Seconds.write(worked),
        megabytes(proc::rss(pid)?),
        proc::descriptors(pid)?,
    );
    Ok(note)
}
