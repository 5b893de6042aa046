//! The messages of the log: one table from what happened to the line, its level and the fields that the
//! journal gets.
//!
//! The lines are those of Server::Starter, which scripts look for: more words may follow, none may change.

use std::fmt;

use tracing::Level;

use super::exit_hint::exit_hint;
use super::message_id as id;
use crate::machine::{Generation, Report, Trigger};
use crate::sys::process::{describe_end, exit_code, killed_by};
use crate::types::{Pid, Seconds};

/// A line of the log, with its fields.
pub(crate) struct Entry {
    pub(crate) line: String,
    level: Level,
    message_id: Option<&'static str>,
    generation: Option<Generation>,
    worker: Option<Pid>,
    /// A raw wait status. The entry has the exit status, or the signal that ended the process.
    wait_status: Option<i32>,
}

/// The entry for a report. `None` if the report has none: the start of a worker that failed without a
/// process is logged where the reason is known, see [`not_spawned`].
pub(crate) fn entry(report: &Report) -> Option<Entry> {
    let entry = match report {
        Report::Started { generation, pid } => Entry::info(format!("starting new worker {pid}"))
            .id(id::STARTED)
            .worker(*generation, *pid),
        Report::Ready { generation, pid } => Entry::debug("worker is ready")
            .id(id::READY)
            .worker(*generation, *pid),
        Report::FailedToStart {
            generation,
            pid,
            status,
        } => Entry::error(format!(
            "new worker {pid} seems to have failed to start, exit status:{}",
            status_with_hint(*status)
        ))
        .id(id::FAILED_TO_START)
        .worker(*generation, *pid)
        .ended(*status),
        Report::NeverReady {
            generation,
            pid,
            after,
        } => Entry::error(format!(
            "new worker {pid} seems to have failed to start, it never said READY=1 in {} s",
            Seconds(*after)
        ))
        .id(id::NEVER_READY)
        .worker(*generation, *pid),
        Report::Extended { generation, by } => {
            let more = Seconds(*by);
            Entry::debug(format!("generation {generation} asks for {more} s more"))
        }
        Report::Stuck {
            generation,
            pid,
            silent,
        } => Entry::error(match silent {
            Some(silent) => {
                let silent = Seconds(*silent);
                format!("worker {pid} has not pinged for {silent} s, sending ABRT")
            }
            None => format!("worker {pid} says that it is stuck, sending ABRT"),
        })
        .id(id::STUCK)
        .worker(*generation, *pid),
        Report::GaveUp { attempts, kept } => {
            let s = if *attempts == 1 { "" } else { "s" };
            let rest = match kept {
                Some(generation) => format!("generation {generation} keeps serving"),
                None => "no worker is left".to_owned(),
            };
            Entry::error(format!("giving up after {attempts} attempt{s}, {rest}")).id(id::GAVE_UP)
        }
        Report::DiedUnexpectedly {
            generation,
            pid,
            status,
            pause,
        } => {
            let how = describe_end(*status);
            let status_text = status.map_or("unknown".to_owned(), |status| status.to_string());
            let pause = match pause.is_zero() {
                true => String::new(),
                false => format!("; after a pause of {} s", Seconds(*pause)),
            };
            Entry::error(format!(
                "worker {pid} died unexpectedly with status:{status_text}, restarting \
                 ({how}{pause})"
            ))
            .id(id::DIED_UNEXPECTEDLY)
            .worker(*generation, *pid)
            .ended(*status)
        }
        Report::OldDied {
            was_current,
            generation,
            pid,
            status,
        } => {
            let line = format!("old worker {pid} died, status:{}", Status(*status));
            match was_current {
                true => Entry::error(line + "; it was still serving"),
                false => Entry::info(line),
            }
            .id(id::OLD_DIED)
            .worker(*generation, *pid)
            .ended(*status)
        }
        Report::Reloading(by) => {
            let cause = cause(*by);
            Entry::info(format!("{cause}, spawning a new worker")).id(id::RELOADING)
        }
        Report::ReloadQueued(by) => {
            let cause = cause(*by);
            let line = format!("{cause} while a worker is being started, another one will follow");
            Entry::info(line)
        }
        Report::CheckFailed { timed_out, kept } => {
            let kept = kept.map(|generation| format!(", generation {generation} keeps serving"));
            let kept = kept.unwrap_or_default();
            Entry::error(match timed_out {
                Some(time) => format!("the check did not end in {} s{kept}", Seconds(*time)),
                None => format!("the check failed, no worker is started{kept}"),
            })
            .id(id::CHECK_FAILED)
        }
        Report::AutoRestart { interval, forced } => {
            let forced = if *forced { "forced, " } else { "" };
            let interval = Seconds(*interval);
            Entry::info(format!(
                "autorestart triggered ({forced}interval={interval})"
            ))
            .id(id::RELOADING)
        }
        Report::Replacing { signal, old } => {
            let old = list(old);
            Entry::info(format!(
                "new worker is now running, sending {signal} to old workers:{old}"
            ))
            .id(id::REPLACING)
        }
        Report::KillDelayed(delay) => {
            let delay = Seconds(*delay);
            Entry::info(format!("sleeping {delay} secs before killing old workers"))
        }
        Report::KillingOld => Entry::info("killing old workers"),
        Report::Stopping {
            received,
            again,
            signal,
            workers,
            alive: _,
        } => {
            let again = match again {
                true => " (asked again, so the signal goes to all)",
                false => "",
            };
            let received = received.map(|received| format!("received {received}, "));
            let received = received.unwrap_or_default();
            let workers = list(workers);
            Entry::info(format!(
                "{received}sending {signal} to all workers:{workers}{again}"
            ))
            .id(id::STOPPING)
        }
        Report::StoppedWorker { pid, status } => {
            let status_text = Status(*status);
            let entry = Entry::info(format!("worker {pid} died, status:{status_text}"));
            Entry {
                worker: Some(*pid),
                ..entry.id(id::OLD_DIED).ended(*status)
            }
        }
        Report::Overdue {
            generation,
            pid,
            after,
        } => {
            let after = Seconds(*after);
            Entry::warn(format!(
                "worker {pid} is still there after {after} s, sending KILL"
            ))
            .id(id::OVERDUE)
            .worker(*generation, *pid)
        }
        Report::LeftBehind { workers } => {
            let workers = list(workers);
            Entry::warn(format!("without a supervisor serve on:{workers}"))
        }
        Report::Exiting => Entry::info("exiting").id(id::EXITING),
        Report::NotSpawned { .. } | Report::Settled => return None,
    };
    Some(entry)
}

/// The entry for an attempt that gave no process.
pub(crate) fn not_spawned(generation: Generation, reason: &str) -> Entry {
    Entry {
        generation: Some(generation),
        ..Entry::error(reason).id(id::NOT_SPAWNED)
    }
}

/// The entry for an upgrade: this release runs in place of release `from`.
pub(crate) fn upgraded(from: &str) -> Entry {
    let (pid, to) = (std::process::id(), env!("CARGO_PKG_VERSION"));
    Entry::info(format!(
        "start_server (pid:{pid}) upgraded from {from} to {to}"
    ))
    .id(id::UPGRADED)
}

/// The entry for workers that are taken over from a supervisor that was killed.
pub(crate) fn taking_over(workers: &[(Generation, Pid)]) -> Entry {
    let s = if workers.len() == 1 { "" } else { "s" };
    let list: Vec<String> = workers
        .iter()
        .map(|(generation, pid)| format!("{generation}:{pid}"))
        .collect();
    Entry::info(format!(
        "taking over {} worker{s} of a supervisor that was killed: {}",
        workers.len(),
        list.join(" ")
    ))
    .id(id::TAKING_OVER)
}

/// The entry for an upgrade that was not made.
pub(crate) fn upgrade_refused(reason: &str) -> Entry {
    Entry::error(format!("upgrade refused, nothing has changed: {reason}")).id(id::UPGRADE_REFUSED)
}

impl Entry {
    fn error(line: impl Into<String>) -> Entry {
        Entry::new(Level::ERROR, line)
    }

    fn warn(line: impl Into<String>) -> Entry {
        Entry::new(Level::WARN, line)
    }

    fn info(line: impl Into<String>) -> Entry {
        Entry::new(Level::INFO, line)
    }

    fn debug(line: impl Into<String>) -> Entry {
        Entry::new(Level::DEBUG, line)
    }

    fn new(level: Level, line: impl Into<String>) -> Entry {
        Entry {
            line: line.into(),
            level,
            message_id: None,
            generation: None,
            worker: None,
            wait_status: None,
        }
    }

    fn id(self, id: &'static str) -> Entry {
        Entry {
            message_id: Some(id),
            ..self
        }
    }

    fn worker(self, generation: Generation, pid: Pid) -> Entry {
        Entry {
            generation: Some(generation),
            worker: Some(pid),
            ..self
        }
    }

    fn ended(self, status: Option<i32>) -> Entry {
        Entry {
            wait_status: status,
            ..self
        }
    }

    /// Sends the entry to the log. A field that is `None` is left out.
    pub(crate) fn write(&self) {
        let signal = self.wait_status.and_then(killed_by);
        let exit_status = self.wait_status.filter(|_| signal.is_none()).map(exit_code);
        let signal = signal.map(|signal| signal.to_string());
        // A callsite of tracing has one level and one set of fields.
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    MESSAGE_ID = self.message_id,
                    generation = self.generation,
                    worker_pid = self.worker,
                    exit_status,
                    signal,
                    "{}",
                    self.line
                )
            };
        }
        match self.level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::INFO => event!(Level::INFO),
            _ => event!(Level::DEBUG),
        }
    }
}

fn cause(by: Trigger) -> &'static str {
    match by {
        Trigger::Hup => "received HUP",
        Trigger::Request => "asked to reload",
        Trigger::SocketReplaced => "a listening socket was replaced",
    }
}

fn list(pids: &[Pid]) -> String {
    if pids.is_empty() {
        return "none".to_owned();
    }
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    pids.join(",")
}

/// `256 (exit code 1)`: the raw status, then what it means. Status 0 stands alone. `None` if it is not
/// known.
struct Status(Option<i32>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(0) => f.write_str("0"),
            Some(status) => write!(f, "{status} ({})", describe_end(self.0)),
            None => write!(f, "unknown ({})", describe_end(None)),
        }
    }
}

/// The status of a worker that did not start: `19968 (exit code 78: EX_CONFIG: …)`.
fn status_with_hint(status: Option<i32>) -> String {
    match status.and_then(|status| Some((status, exit_hint(status)?))) {
        Some((status, hint)) => format!("{status} ({}: {hint})", describe_end(Some(status))),
        None => Status(status).to_string(),
    }
}

#[cfg(test)]
mod tests;
