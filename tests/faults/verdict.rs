//! The rules that must hold after a run with a fault:
//!
//! 1. The supervisor served throughout and stopped with status 0. A request at the moment of the fault may have failed;
//!    repeated, it succeeded.
//! 2. Or it refused to start, before it served, with status 1 (2 for a name in an option) and a message with the reason in
//!    the words of the error. Or, in an upgrade, the next program could not take over, and ended with status 1 and such a
//!    message.
//! 3. It has left no file, no socket and no process, and while it ran it had no more descriptors than usual. Only what the
//!    fault itself kept from being removed may be left.
//! 4. Files of others are unchanged.
//! 5. It did not panic, hang or spin.

use std::time::Duration;

use server_starter_testing::wait_for_within;

use crate::calls::{means, words};
use crate::case::Case;
use crate::scenario_run::{Baseline, ScenarioRun};
use crate::trace::{Call, shape_of};

/// How long processes may take to end after the supervisor.
const PATIENCE: Duration = Duration::from_secs(5);

/// The outcome of a run that broke no rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The supervisor served throughout. With its unusual log lines, the requests that were repeated, and the files that
    /// the fault has left.
    Served {
        said: Vec<String>,
        again: Vec<String>,
        left: Vec<String>,
    },
    /// The supervisor refused to start, with this message.
    Refused(String),
    /// The next program could not take over after the exec of an upgrade, and ended with this message.
    Ended(String),
    /// The call was not made in this run.
    NotReached,
}

/// Runs a case. Returns the call that failed, and the outcome or the rule that was broken.
pub(crate) fn of(
    case: &Case,
    baseline: &Baseline,
    run: &mut ScenarioRun,
) -> (Option<Call>, Result<Outcome, String>) {
    let played = run.play();
    if played.is_err() {
        // The supervisor may be about to end.
        let _ = run.server.look::<()>(PATIENCE / 5, |_| Ok(None));
    }
    if run.server.exited().is_none() {
        let why = played.err().unwrap_or_default();
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
    if played.is_err() && executed.is_some_and(|executed| at > Some(executed)) {
        let ended = ended(case, run);
        return (injected.into_iter().next(), ended);
    }
    let outcome = judge(case, baseline, run, played, &injected).and_then(|outcome| {
        let (calls, usual) = (trace.calls.len(), baseline.trace.calls.len());
        match calls > 4 * usual + 400 {
            true => Err(format!(
                "the supervisor spins: {calls} calls, usually {usual}"
            )),
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
            Ok(Outcome::Ended(shown(message, run.server.dir().text())))
        }
        _ => Err(format!("ended after an upgrade, with status {status:?}")),
    }
}

fn judge(
    case: &Case,
    baseline: &Baseline,
    run: &ScenarioRun,
    played: Result<(), String>,
    injected: &[Call],
) -> Result<Outcome, String> {
    let server = &run.server;
    let said = server.said();
    if said.contains("panicked at") {
        return Err("the supervisor panicked".to_owned());
    }
    if let Some(touched) = server.others.touched(server.dir()) {
        return Err(format!("a file of others was changed: {touched}"));
    }
    if server.served {
        played?;
    }
    // A log command may see the end of its input only after the supervisor has ended.
    let ended = wait_for_within(PATIENCE, || server.processes().is_empty().then_some(()));
    if ended.is_none() {
        return Err(format!("processes left: {:?}", server.processes()));
    }
    let left = server.left(run.scenario, run.scenario.stale_files && !server.served);
    let name = case.fault.name.as_str();
    let removes = ["unlink", "unlinkat", "rmdir"].contains(&name);
    if !server.served {
        let status = server.exited().and_then(|status| status.code());
        let begins = match status {
            Some(1) => "start_server: ",
            Some(2) => "error: ", // a name in an option could not be looked up
            _ => return Err(format!("refused to start, with status {status:?}")),
        };
        if !left.is_empty() && !removes {
            return Err(format!("refused to start, and left {}", left.join(", ")));
        }
        let message = said.lines().rev().find(|l| l.starts_with(begins));
        let message = message.ok_or("refused to start without a reason")?;
        let reason = words(case.fault.errno);
        let means = means(name, case.fault.errno).is_some_and(|other| message.contains(other));
        if !message.contains(&reason) && !means {
            return Err(format!(
                "refused to start, and the message lacks {reason:?}: {message}"
            ));
        }
        return Ok(Outcome::Refused(shown(message, server.dir().text())));
    }
    // A file that could not be removed, or not be recognised as the supervisor's own, stays.
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
        shown(line, directory).replace(digits, "")
    };
    let directory = &baseline.directory;
    let usual: Vec<String> = baseline.said.lines().map(|l| words(l, directory)).collect();
    let mut unusual: Vec<String> = said
        .lines()
        .filter(|line| !usual.contains(&words(line, server.dir().text())))
        .map(|line| shown(line, server.dir().text()))
        .collect();
    unusual.dedup();
    Ok(Outcome::Served {
        said: unusual,
        again: run.again.clone(),
        left: left.iter().map(|path| shape_of(path)).collect(),
    })
}

/// A line without what differs from run to run.
fn shown(line: &str, directory: &str) -> String {
    let line = line.replace(directory, "");
    shape_of(&line)
}
