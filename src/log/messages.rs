//! What happened, in the words that Server::Starter's users grep for.

use std::fmt::Write;

use super::message_id;
use crate::machine::{Report, Trigger};
use crate::sys::process::{describe_status, exit_code, killed_by};
use crate::types::{Pid, Seconds};

/// The line for a report; none for what the log does not mention.
pub(crate) fn line(report: &Report) -> Option<String> {
    let line = match report {
        Report::Started { pid, .. } => format!("starting new worker {pid}"),
        Report::FailedToStart { pid, status, .. } => format!(
            "new worker {pid} seems to have failed to start, exit status:{}",
            Status(*status)
        ),
        Report::NeverReady { pid, after, .. } => format!(
            "new worker {pid} seems to have failed to start, it never said READY=1 in {} s",
            Seconds(*after)
        ),
        Report::Extended { generation, by } => {
            format!("generation {generation} asks for {} s more", Seconds(*by))
        }
        Report::Stuck { pid, silent, .. } => match silent {
            Some(silent) => format!(
                "worker {pid} has not pinged for {} s, sending ABRT",
                Seconds(*silent)
            ),
            None => format!("worker {pid} says that it is stuck, sending ABRT"),
        },
        Report::GaveUp { attempts, kept } => {
            let s = if *attempts == 1 { "" } else { "s" };
            match kept {
                Some(generation) => format!(
                    "giving up after {attempts} attempt{s}, generation {generation} keeps serving"
                ),
                None => format!("giving up after {attempts} attempt{s}, no worker is left"),
            }
        }
        Report::DiedUnexpectedly {
            pid, status, pause, ..
        } => {
            let mut line =
                format!("worker {pid} died unexpectedly with status:{status}, restarting");
            let _ = write!(line, " ({}", describe_status(*status));
            if !pause.is_zero() {
                let _ = write!(line, "; after a pause of {} s", Seconds(*pause));
            }
            line + ")"
        }
        Report::OldDied {
            was_current,
            pid,
            status,
            ..
        } => {
            let alone = if *was_current {
                "; it was still serving"
            } else {
                ""
            };
            format!("old worker {pid} died, status:{}{alone}", Status(*status))
        }
        Report::Reloading(by) => format!("{}, spawning a new worker", wanted(*by)),
        Report::ReloadQueued(by) => format!(
            "{} while a worker is being started, another one will follow",
            wanted(*by)
        ),
        Report::CheckFailed { timed_out, kept } => {
            let kept = kept.map(|generation| format!(", generation {generation} keeps serving"));
            let kept = kept.unwrap_or_default();
            match timed_out {
                Some(time) => format!("the check did not end in {} s{kept}", Seconds(*time)),
                None => format!("the check failed, no worker is started{kept}"),
            }
        }
        Report::AutoRestart { interval, forced } => format!(
            "autorestart triggered ({}interval={})",
            if *forced { "forced, " } else { "" },
            Seconds(*interval)
        ),
        Report::Replacing { signal, old } => {
            format!(
                "new worker is now running, sending {signal} to old workers:{}",
                list(old)
            )
        }
        Report::KillDelayed(delay) => {
            format!(
                "sleeping {} secs before killing old workers",
                Seconds(*delay)
            )
        }
        Report::KillingOld => "killing old workers".to_owned(),
        Report::Stopping {
            received,
            signal,
            workers,
        } => match received {
            Some(received) => {
                format!(
                    "received {received}, sending {signal} to all workers:{}",
                    list(workers)
                )
            }
            None => format!("sending {signal} to all workers:{}", list(workers)),
        },
        Report::StoppedWorker { pid, status } => {
            format!("worker {pid} died, status:{}", Status(*status))
        }
        Report::Overdue { pid, after, .. } => {
            format!(
                "worker {pid} is still there after {} s, sending KILL",
                Seconds(*after)
            )
        }
        Report::Exiting => "exiting".to_owned(),
        Report::Ready { .. } | Report::NotSpawned { .. } | Report::Settled => return None,
    };
    Some(line)
}

/// Sends a report to the log, with its fields.
pub(crate) fn tell(report: &Report) {
    let text = line(report);
    let text = text.as_deref().unwrap_or_default();
    /// An event of this level and kind.
    macro_rules! say {
        ($level:ident, $id:ident $(, $field:ident = $value:expr)*) => {
            tracing::$level!(MESSAGE_ID = message_id::$id $(, $field = $value)*, "{text}")
        };
    }
    match report {
        Report::Started { generation, pid } => {
            say!(info, STARTED, generation = generation, worker_pid = pid)
        }
        Report::Ready { generation, pid } => {
            let text = "worker is ready";
            tracing::debug!(
                MESSAGE_ID = message_id::READY,
                generation,
                worker_pid = pid,
                "{text}"
            )
        }
        Report::FailedToStart {
            generation,
            pid,
            status,
        } => {
            let (exit_status, signal) = parts(*status);
            say!(
                error,
                FAILED_TO_START,
                generation = generation,
                worker_pid = pid,
                exit_status = exit_status,
                signal = signal
            )
        }
        Report::NeverReady {
            generation, pid, ..
        } => {
            say!(
                error,
                NEVER_READY,
                generation = generation,
                worker_pid = pid
            )
        }
        Report::Stuck {
            generation, pid, ..
        } => {
            say!(error, STUCK, generation = generation, worker_pid = pid)
        }
        Report::Extended { .. } => tracing::debug!("{text}"),
        Report::DiedUnexpectedly {
            generation,
            pid,
            status,
            ..
        } => {
            let (exit_status, signal) = parts(*status);
            say!(
                error,
                DIED_UNEXPECTEDLY,
                generation = generation,
                worker_pid = pid,
                exit_status = exit_status,
                signal = signal
            )
        }
        Report::OldDied {
            was_current,
            generation,
            pid,
            status,
        } => {
            let (exit_status, signal) = parts(*status);
            if *was_current {
                say!(
                    error,
                    OLD_DIED,
                    generation = generation,
                    worker_pid = pid,
                    exit_status = exit_status,
                    signal = signal
                )
            } else {
                say!(
                    info,
                    OLD_DIED,
                    generation = generation,
                    worker_pid = pid,
                    exit_status = exit_status,
                    signal = signal
                )
            }
        }
        Report::StoppedWorker { pid, status } => {
            let (exit_status, signal) = parts(*status);
            say!(
                info,
                OLD_DIED,
                worker_pid = pid,
                exit_status = exit_status,
                signal = signal
            )
        }
        Report::Overdue {
            generation, pid, ..
        } => {
            say!(warn, OVERDUE, generation = generation, worker_pid = pid)
        }
        Report::GaveUp { .. } => say!(error, GAVE_UP),
        Report::Reloading(_) | Report::AutoRestart { .. } => say!(info, RELOADING),
        Report::CheckFailed { .. } => say!(error, CHECK_FAILED),
        Report::Replacing { .. } => say!(info, REPLACING),
        Report::Stopping { .. } => say!(info, STOPPING),
        Report::Exiting => say!(info, EXITING),
        Report::ReloadQueued(_) | Report::KillDelayed(_) | Report::KillingOld => {
            tracing::info!("{text}")
        }
        Report::NotSpawned { .. } | Report::Settled => {}
    }
}

/// A wait status as two fields, of which one is there: the exit status, or the signal's name.
fn parts(status: i32) -> (Option<i32>, Option<String>) {
    match killed_by(status) {
        Some(signal) => (None, Some(signal.to_string())),
        None => (Some(exit_code(status)), None),
    }
}

fn wanted(by: Trigger) -> &'static str {
    match by {
        Trigger::Hup => "received HUP",
        Trigger::Request => "asked to reload",
    }
}

fn list(pids: &[Pid]) -> String {
    if pids.is_empty() {
        return "none".to_owned();
    }
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    pids.join(",")
}

/// `256 (exit code 1)`: the raw status, then what it means. A clean exit needs no words.
struct Status(i32);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        if self.0 != 0 {
            write!(f, " ({})", describe_status(self.0))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Signal;
    use std::time::Duration;

    #[test]
    fn the_lines_people_grep_for() {
        let secs = Duration::from_secs;
        let (generation, pid) = (7, 12);
        let cases = [
            (
                Report::Started { generation, pid },
                "starting new worker 12",
            ),
            (
                Report::FailedToStart {
                    generation,
                    pid,
                    status: 256,
                },
                "new worker 12 seems to have failed to start, exit status:256 (exit code 1)",
            ),
            (
                Report::DiedUnexpectedly {
                    generation,
                    pid,
                    status: 9,
                    pause: secs(0),
                },
                "worker 12 died unexpectedly with status:9, restarting (killed by KILL)",
            ),
            (
                Report::OldDied {
                    was_current: false,
                    generation,
                    pid,
                    status: 0,
                },
                "old worker 12 died, status:0",
            ),
            (
                Report::Reloading(Trigger::Hup),
                "received HUP, spawning a new worker",
            ),
            (
                Report::AutoRestart {
                    interval: secs(360),
                    forced: false,
                },
                "autorestart triggered (interval=360)",
            ),
            (
                Report::AutoRestart {
                    interval: secs(2),
                    forced: true,
                },
                "autorestart triggered (forced, interval=2)",
            ),
            (
                Report::Replacing {
                    signal: Signal::TERM,
                    old: vec![9, 10],
                },
                "new worker is now running, sending TERM to old workers:9,10",
            ),
            (
                Report::Replacing {
                    signal: Signal::QUIT,
                    old: vec![],
                },
                "new worker is now running, sending QUIT to old workers:none",
            ),
            (
                Report::KillDelayed(secs(5)),
                "sleeping 5 secs before killing old workers",
            ),
            (Report::KillingOld, "killing old workers"),
            (
                Report::Stopping {
                    received: Some(Signal::INT),
                    signal: Signal::TERM,
                    workers: vec![3],
                },
                "received INT, sending TERM to all workers:3",
            ),
            (
                Report::StoppedWorker { pid, status: 15 },
                "worker 12 died, status:15 (killed by TERM)",
            ),
            (Report::Exiting, "exiting"),
        ];
        for (report, expected) in cases {
            assert_eq!(line(&report).as_deref(), Some(expected));
        }
    }
}
