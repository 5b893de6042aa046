//! A server under load while it is reloaded.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Comparison, announce, milliseconds};
use crate::answer::Answer;
use crate::candidate::{Candidate, Setup, Wait};
use crate::load::{BUCKET, Load, Traffic, body, buckets, percentile};
use crate::plot::{Axis, Line, Panel, Scale, Unit, stack};
use crate::report::{Plot, Section, Table, median};
use crate::running::{PATIENCE, Running, signal};
use crate::workers::{Role, START};

/// Requests in a second, where they have their times: a fifth of what the server can answer.
const PACE: u32 = 4_000;

/// A HUP comes this long after the last, unless that reload is still under way.
const EVERY: Duration = Duration::from_millis(200);

/// Room for 50 of them.
const WHOLE: Duration = Duration::from_millis(10_600);

/// It is quiet for so long before the first HUP.
const BEFORE: Duration = Duration::from_millis(300);

/// How a reload is decided, in words.
const NONE: &str = "no reload";
const NOTIFY: &str = "--ready=notify";
const AT_ONCE: &str = "--interval=0";
const DEFAULT: &str = "--interval=1, the default";

/// What a candidate did for so long.
struct Run {
    label: String,
    how: &'static str,
    lasts: Duration,
    traffic: Traffic,
    reloads: Vec<Mark>,
}

/// A reload.
struct Mark {
    /// HUP, from the start on.
    at: Duration,
    /// From HUP to the end of the old worker.
    took: Duration,
}

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let lasts = bench.quick_or(Duration::from_secs(1), WHOLE);
    let mut paced = Vec::new();
    let (index, ours) = bench.ours()?;
    paced.push(bench.run(index, ours, NONE, Some(PACE), lasts)?);
    for (index, candidate) in bench.reloading() {
        let ways: &[_] = if candidate.is_ours() {
            &[NOTIFY]
        } else {
            &[DEFAULT, AT_ONCE]
        };
        for how in ways {
            paced.push(bench.run(index, candidate, how, Some(PACE), lasts)?);
        }
    }
    let lasts = bench.quick_or(Duration::from_millis(700), Duration::from_secs(6));
    let mut unpaced = Vec::new();
    for (index, candidate) in bench.reloading() {
        let reloading = if candidate.is_ours() {
            NOTIFY
        } else {
            bench.quick_or(AT_ONCE, DEFAULT)
        };
        for how in [NONE, reloading] {
            unpaced.push(bench.run(index, candidate, how, None, lasts)?);
        }
    }

    let about = format!(
        "A small HTTP server, a new connection for each request, on one thread; it takes {} ms to start, as\n\
         servers do that have something to load, and says READY=1 then. HUP comes every {} ms, or when the last\n\
         reload is over. {PACE} requests are due in a second, and latency counts from that moment on, so that\n\
         no client's waiting time is left out; in the second table each of four clients asks again as soon as it has its\n\
         answer. Every answer is checked. In an interval of 0 the old worker goes before\n\
         the new one has started; requests wait for that.",
        START.as_millis(),
        EVERY.as_millis(),
    );
    let mut section = Section::new("A server under load", &about);
    section.plots.push(picture(&paced));
    section.tables.push(latencies(&paced));
    section.tables.push(throughput(&unpaced));

    let all = || paced.iter().chain(&unpaced);
    for run in all().filter(|run| !run.traffic.failures.is_empty()) {
        section.notes.push(format!(
            "{}, {}: {} failed, the first: {}",
            run.label,
            run.how,
            run.traffic.failures.len(),
            run.traffic.failures[0]
        ));
    }
    // The one thing that is no figure: it has to be so.
    match all().find(|run| run.label == "ours" && !run.traffic.failures.is_empty()) {
        Some(run) => Err(format!(
            "ours has lost {} requests, the first: {}",
            run.traffic.failures.len(),
            run.traffic.failures[0]
        )),
        None => Ok(section),
    }
}

impl Comparison<'_> {
    fn run(
        &self,
        index: usize,
        candidate: &Candidate,
        how: &'static str,
        pace: Option<u32>,
        lasts: Duration,
    ) -> Result<Run, String> {
        announce(&format!("load on {}, {how}", candidate.label), 1);
        let wait = match how {
            NOTIFY => Wait::Word,
            AT_ONCE => Wait::Interval(0),
            _ => Wait::Default,
        };
        let setup = Setup::with(self.ports.of(index), wait, Role::Serves);
        let address = setup.sockets[0].address;
        let (mut running, started) = Running::start(candidate, setup)?;
        let first = loop {
            match body(address) {
                Ok(body) => break Answer::parse(body.trim_end()),
                Err(reason) if started.elapsed() > PATIENCE => break Err(reason),
                Err(_) => sleep(Duration::from_millis(1)),
            }
        };
        let mut worker = first.map_err(|reason| running.blame(&reason))?.pid;
        if how == DEFAULT {
            sleep(Duration::from_secs(1)); // it would not take note of a HUP before
        }

        let load = Load {
            address,
            token: running.token(),
            pace,
            started: Instant::now(),
            lasts,
        };
        let (traffic, reloads) = load.while_doing(|| match how {
            NONE => Ok(Vec::new()),
            _ => reload(&running, &load, &mut worker, candidate.is_ours()),
        });
        let reloads = reloads.map_err(|reason| running.blame(&reason))?;
        signal(running.pid() as i32, Signal::SIGTERM)?;
        let ended = running.wait();
        ended.map_err(|reason| running.blame(&reason))?;
        Ok(Run {
            label: candidate.label.clone(),
            how,
            lasts,
            traffic,
            reloads,
        })
    }
}

/// Sends one HUP after the other, and sees each old worker go.
///
/// One that may lose a HUP gets no other then.
fn reload(
    running: &Running,
    load: &Load,
    worker: &mut i32,
    loses_none: bool,
) -> Result<Vec<Mark>, String> {
    let mut marks = Vec::new();
    let mut next = BEFORE;
    loop {
        sleep(next.saturating_sub(load.started.elapsed()));
        let at = load.started.elapsed();
        if at + BEFORE >= load.lasts {
            return Ok(marks);
        }
        signal(running.pid() as i32, Signal::SIGHUP)?;
        while nix::sys::signal::kill(Pid::from_raw(*worker), None) != Err(Errno::ESRCH) {
            if load.started.elapsed() > at + PATIENCE {
                if !loses_none {
                    return Ok(marks);
                }
                return Err(format!("worker {worker} is still there after HUP"));
            }
            sleep(Duration::from_micros(500));
        }
        let took = load.started.elapsed() - at;
        marks.push(Mark { at, took });
        *worker = Answer::parse(body(load.address)?.trim_end())?.pid;
        next = (at + EVERY).max(load.started.elapsed());
    }
}

fn name(run: &Run) -> String {
    format!("{}, {}", run.label, run.how)
}

/// Latencies of all requests of a run in microseconds, ascending.
fn sorted(run: &Run) -> Vec<f64> {
    let samples = run.traffic.answered.iter();
    let mut all: Vec<_> = samples
        .map(|sample| sample.latency.as_secs_f64() * 1e6)
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn took(run: &Run) -> String {
    if run.reloads.is_empty() {
        return "-".to_owned();
    }
    let times: Vec<_> = run
        .reloads
        .iter()
        .map(|mark| milliseconds(mark.took))
        .collect();
    Unit::Milliseconds.write(median(&times))
}

fn latencies(runs: &[Run]) -> Table {
    let header = [
        "at a steady pace",
        "reloads",
        "each took",
        "answered",
        "failed",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
    ];
    let mut table = Table::new(&header, 1);
    for run in runs {
        let all = sorted(run);
        let at =
            |part| percentile(&all, part).map_or("-".to_owned(), |value| format!("{value:.0}"));
        table.row([
            name(run),
            run.reloads.len().to_string(),
            took(run),
            run.traffic.answered.len().to_string(),
            run.traffic.failures.len().to_string(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        ]);
    }
    table
}

fn throughput(runs: &[Run]) -> Table {
    let header = [
        "as many as can be",
        "reloads",
        "answered per s",
        "failed",
        "p50 µs",
        "p99 µs",
        "max µs",
    ];
    let mut table = Table::new(&header, 1);
    for run in runs {
        let all = sorted(run);
        let at =
            |part| percentile(&all, part).map_or("-".to_owned(), |value| format!("{value:.0}"));
        let rate = run.traffic.answered.len() as f64 / run.lasts.as_secs_f64();
        table.row([
            name(run),
            run.reloads.len().to_string(),
            format!("{rate:.0}"),
            run.traffic.failures.len().to_string(),
            at(0.5),
            at(0.99),
            at(1.0),
        ]);
    }
    table
}

/// Requests and latency over time, one run below the other, all on the same axes.
fn picture(runs: &[Run]) -> Plot {
    let shown: Vec<_> = runs.iter().filter(|run| run.how != NONE).collect();
    let series: Vec<_> = shown
        .iter()
        .map(|run| buckets(&run.traffic.answered, run.lasts))
        .collect();
    let all = || series.iter().flatten();
    let answers = Scale::up_to(all().map(|bucket| bucket.answers as f64));
    let latencies = all()
        .flat_map(|bucket| [bucket.p50, bucket.p99, bucket.max])
        .flatten();
    let latencies = Scale::around(latencies);
    let mut panels = Vec::new();
    for (run, buckets) in shown.iter().zip(&series) {
        let panel = |title: String, height, scale, unit| Panel {
            title,
            height,
            x: Axis {
                scale: Scale::Linear {
                    from: 0.0,
                    to: run.lasts.as_secs_f64(),
                },
                unit: Unit::Seconds,
            },
            y: Axis { scale, unit },
            lines: Vec::new(),
            marks: run
                .reloads
                .iter()
                .map(|mark| mark.at.as_secs_f64())
                .collect(),
        };
        let line =
            |label: &str, colour, value: &dyn Fn(&crate::load::Bucket) -> Option<f64>| Line {
                label: label.to_owned(),
                colour,
                points: buckets
                    .iter()
                    .filter_map(|bucket| Some([bucket.at, value(bucket)?]))
                    .collect(),
                dots: false,
            };
        let failed = run.traffic.failures.len();
        let title = format!(
            "{}: {} reloads of {}; {failed} of {} failed",
            name(run),
            run.reloads.len(),
            took(run),
            Unit::Count.write((failed + run.traffic.answered.len()) as f64),
        );
        let mut requests = panel(title, 50.0, answers, Unit::Count);
        let per = format!("answers in {} ms", BUCKET.as_millis());
        requests.lines = vec![line(&per, 0, &|bucket| Some(bucket.answers as f64))];
        let mut latency = panel(
            "Latency; dashed: HUP".to_owned(),
            120.0,
            latencies,
            Unit::Microseconds,
        );
        latency.lines = vec![
            line("max", 1, &|bucket| bucket.max),
            line("p99", 3, &|bucket| bucket.p99),
            line("p50", 0, &|bucket| bucket.p50),
        ];
        panels.extend([requests, latency]);
    }
    let title = "Requests and latency over time, through reloads";
    let told: Vec<_> = shown
        .iter()
        .map(|run| {
            format!(
                "{}: {} reloads, {} of {} requests failed",
                name(run),
                run.reloads.len(),
                run.traffic.failures.len(),
                run.traffic.failures.len() + run.traffic.answered.len()
            )
        })
        .collect();
    Plot {
        file: "load.svg",
        alt: format!("{title}. {}", told.join("; ")),
        svg: stack(title, &panels),
    }
}
