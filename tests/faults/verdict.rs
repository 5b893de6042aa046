//! What must be true after a life in which something has failed, by rule:
//!
//! 1. It served throughout, and stopped with status 0 when it was told to. What was asked of it at the
//!    moment of the fault may have failed; asked again, it was done.
//! 2. Or it refused to start: before it served, with status 1 (2 for what an option names) and a message that gives the reason in
//!    the words of the error.
//!    Or, in an upgrade, the next program could not take over: it ended with status 1 and such a message.
//! 3. Nothing of its own is left: no file, no socket, no process, and no descriptor while it lived.
//!    What the fault itself kept from being removed may be.
//! 4. Nothing of others' was touched.
//! 5. It did not panic, did not hang, and did not spin.

use std::time::Duration;

use server_starter_testing::wait_for_within;

use crate::calls::{means, words};
use crate::case::Case;
use crate::scenario_run::{Baseline, ScenarioRun};
use crate::trace::{Call, shape_of};

/// How long what is not waited for may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How it went, if it went well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It served throughout. What it said that it does not say otherwise; what was to be done again;
    /// what the fault has left behind.
    Served {
        said: Vec<String>,
        again: Vec<String>,
        left: Vec<String>,
    },
    /// It did not start, and said why.
    Refused(String),
    /// The next program could not take over, after the exec of an upgrade: there is no way back then.
    /// It has ended, and said why.
    Ended(String),
    /// In this run there were fewer calls.
    NotReached,
}

/// A life with its fault: how it went, or which rule was broken. With the call that has failed.
pub(crate) fn of(
    case: &Case,
    record: &Baseline,
    run: &mut ScenarioRun,
) -> (Option<Call>, Result<Outcome, String>) {
    let told = run.tell();
    if told.is_err() {
        // It may be about to end.
        let _ = run.server.look::<()>(PATIENCE / 5, |_| Ok(None));
    }
    if run.server.exited().is_none() {
        let why = told.err().unwrap_or_default();
        return (None, Err(format!("{why}\n    {}", run.server.last_lines())));
    }
    let trace = match run.server.trace() {
        Ok(trace) => trace,
        Err(why) => return (None, Err(why)),
    };
    let injected = trace.injected();
    if injected.is_empty() && trace.injected_elsewhere {
        return (None, Ok(Outcome::NotReached));
    }
    let executed = |call: &Call| call.name == "execve" && call.text.ends_with(" = 0");
    let executed = trace.calls.iter().position(executed);
    let at = trace.calls.iter().position(|call| call.injected);
    if told.is_err() && executed.is_some_and(|executed| at > Some(executed)) {
        let ended = ended(case, run);
        return (injected.into_iter().next(), ended);
    }
    let outcome = judge(case, record, run, told, &injected).and_then(|outcome| {
        let (calls, usual) = (trace.calls.len(), record.trace.calls.len());
        match calls > 4 * usual + 400 {
            true => Err(format!("it spins: {calls} calls, usually {usual}")),
            false => Ok(outcome),
        }
    });
    let outcome = outcome.map_err(|why| format!("{why}\n    {}", run.server.last_lines()));
    (injected.into_iter().next(), outcome)
}

fn ended(case: &Case, run: &ScenarioRun) -> Result<Outcome, String> {
    let status = run.server.exited().and_then(|status| status.code());
    let said = run.server.said();
    let message = said
        .lines()
        .rev()
        .find(|l| l.starts_with("start_server: failed to"));
    match message.filter(|message| message.contains(&words(case.fault.errno))) {
        Some(message) if status == Some(1) => {
            Ok(Outcome::Ended(people(message, run.server.dir().text())))
        }
        _ => Err(format!("ended after an upgrade, with status {status:?}")),
    }
}

fn judge(
    case: &Case,
    record: &Baseline,
    run: &ScenarioRun,
    told: Result<(), String>,
    injected: &[Call],
) -> Result<Outcome, String> {
    let server = &run.server;
    let said = server.said();
    if said.contains("panicked at") {
        return Err("it panicked".to_owned());
    }
    if let Some(touched) = server.others.touched(server.dir()) {
        return Err(format!("of others, and touched: {touched}"));
    }
    if server.served {
        told?;
    }
    // A log command may see the end of its input only when the supervisor has gone.
    let ended = wait_for_within(PATIENCE, || server.processes().is_empty().then_some(()));
    if ended.is_none() {
        return Err(format!("processes left: {:?}", server.processes()));
    }
    let left = server.left(run.life, run.life.leftovers && !server.served);
    let name = case.fault.name.as_str();
    let removes = ["unlink", "unlinkat", "rmdir"].contains(&name);
    if !server.served {
        let status = server.exited().and_then(|status| status.code());
        let begins = match status {
            Some(1) => "start_server: ",
            Some(2) => "error: ", // what an option names could not be looked up
            _ => return Err(format!("did not start, with status {status:?}")),
        };
        if !left.is_empty() && !removes {
            return Err(format!("did not start, and left {}", left.join(", ")));
        }
        let message = said.lines().rev().find(|l| l.starts_with(begins));
        let message = message.ok_or("did not start, and did not say why")?;
        let reason = words(case.fault.errno);
        let means = means(name, case.fault.errno).is_some_and(|other| message.contains(other));
        if !message.contains(&reason) && !means {
            return Err(format!(
                "did not start, and said nothing of {reason:?}: {message}"
            ));
        }
        return Ok(Outcome::Refused(people(message, server.dir().text())));
    }
    // What could not be removed, or no longer be recognised as its own, stays.
    let looks = ["stat", "lstat", "fstat", "newfstatat", "statx"].contains(&name);
    let names = |path: &str| injected.iter().any(|call| call.text.contains(path));
    let excused = |path: &String| (removes || looks) && names(path);
    let in_the_way = |path: &String| {
        left.iter()
            .any(|l| l.starts_with(path.as_str()) && excused(l))
    };
    if let Some(path) = left.iter().find(|path| !excused(path) && !in_the_way(path)) {
        return Err(format!("left {path}"));
    }
    let (now, usual) = (run.descriptors, run.usual.unwrap_or(usize::MAX));
    if now > usual {
        return Err(format!("{now} descriptors open, usually {usual}"));
    }
    if injected.is_empty() {
        return Ok(Outcome::NotReached);
    }
    let words = |line: &str, directory: &str| {
        let digits = |c: char| c == 'N' || c.is_ascii_digit();
        people(line, directory).replace(digits, "")
    };
    let directory = &record.directory;
    let usual: Vec<String> = record.said.lines().map(|l| words(l, directory)).collect();
    let mut unusual: Vec<String> = said
        .lines()
        .filter(|line| !usual.contains(&words(line, server.dir().text())))
        .map(|line| people(line, server.dir().text()))
        .collect();
    unusual.dedup();
    Ok(Outcome::Served {
        said: unusual,
        again: run.again.clone(),
        left: left.iter().map(|path| shape_of(path)).collect(),
    })
}

/// A line without what differs from run to run.
fn people(line: &str, directory: &str) -> String {
    let line = line.replace(directory, "");
    shape_of(&line)
}
