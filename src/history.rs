//! The history of a supervisor: the last reload, counters, and what workers have said. It is the source of
//! systemd's status line and of `--status`, and has the reason why a reload failed.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::machine::{Generation, Report, Time};
use crate::sys::clock::{local_time, unix_time};
use crate::sys::process::describe_end;
use crate::types::{Pid, Seconds};
use crate::worker::StatusText;

/// The history since the start of the supervisor. Upgrades keep it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// When the supervisor was started, in seconds since 1970.
    pub(crate) since: u64,
    /// Why the latest attempt failed, of the start that is under way.
    failure: Option<String>,
    /// The process that failed, if there was one.
    failed_worker: Option<Pid>,
    last_reload: Option<Verdict>,
    reloading: bool,
    /// The latest `STATUS=` of each live worker.
    status_texts: BTreeMap<Generation, String>,
    lifetimes: BTreeMap<Generation, Lifetime>,
    pub(crate) counters: Counters,
}

/// The times of a live worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lifetime {
    pub(crate) started: Time,
    /// `None` if the worker does not count as started yet.
    pub(crate) ready: Option<Time>,
}

/// How a reload ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// The generation that has served since.
    pub(crate) generation: Option<Generation>,
    /// Why the reload failed; `None` if it succeeded.
    pub(crate) failure: Option<String>,
}

/// Counts since the start of the supervisor; `--status` has them, too. Unknown fields are ignored, since a
/// client may be older than the supervisor. So an upgrade to an older release may lose a count.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counters {
    pub(crate) reloads_succeeded: u64,
    pub(crate) reloads_failed: u64,
    /// Attempts to start a worker that gave no ready one.
    pub(crate) starts_failed: u64,
    /// Workers that died while they served.
    pub(crate) unexpected_deaths: u64,
}

impl History {
    pub(crate) fn new() -> History {
        History {
            since: unix_time(),
            failure: None,
            failed_worker: None,
            last_reload: None,
            reloading: false,
            status_texts: BTreeMap::new(),
            lifetimes: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// Adds a worker of a supervisor that was killed, which was started then. When it became ready is not
    /// known.
    pub(crate) fn adopt(&mut self, generation: Generation, started: Time) {
        let ready = None;
        self.lifetimes
            .insert(generation, Lifetime { started, ready });
    }

    /// Stores the latest `STATUS=` of a worker. Returns whether the text changed.
    pub(crate) fn set_status_text(&mut self, status_text: StatusText) -> bool {
        let StatusText { generation, text } = status_text;
        tracing::debug!(generation, "generation {generation} says: {text}");
        self.status_texts.insert(generation, text.clone()).as_ref() != Some(&text)
    }

    /// The latest `STATUS=` of a live worker.
    pub(crate) fn status_text(&self, generation: Generation) -> Option<&str> {
        self.status_texts.get(&generation).map(String::as_str)
    }

    /// The latest `STATUS=` of the newest worker that has sent one.
    pub(crate) fn newest_status_text(&self) -> Option<&str> {
        self.status_texts.values().next_back().map(String::as_str)
    }

    /// Drops what is known of a worker that has died.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.status_texts.remove(&generation);
        self.lifetimes.remove(&generation);
    }

    pub(crate) fn lifetime(&self, generation: Generation) -> Option<Lifetime> {
        self.lifetimes.get(&generation).copied()
    }

    /// Stores why an attempt gave no process, or why a check failed. Must be called before the machine
    /// reports it.
    pub(crate) fn attempt_failed(&mut self, reason: &str) {
        self.failure = Some(reason.to_owned());
    }

    /// The same for a check; `pid` is its process, if there was one.
    pub(crate) fn check_failed(&mut self, pid: Option<Pid>, reason: &str) {
        self.failed_worker = pid;
        self.attempt_failed(reason);
    }

    /// Why the latest attempt failed. `None` if no start is under way, or this is its first attempt.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The process of the last worker, or check, that failed.
    pub(crate) fn failed_worker(&self) -> Option<Pid> {
        self.failed_worker
    }

    pub(crate) fn last_reload(&self) -> Option<&Verdict> {
        self.last_reload.as_ref()
    }

    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading
    }

    /// Why the latest attempt or, if no start is under way, the last reload failed.
    pub(crate) fn reason(&self) -> &str {
        let verdict = || self.last_reload.as_ref()?.failure.as_deref();
        let reason = self.failure().or_else(verdict);
        reason.unwrap_or("it did not start")
    }

    /// Updates the history. `current` is the generation that serves now.
    pub(crate) fn report(&mut self, report: &Report, current: Option<Generation>, now: Time) {
        match report {
            Report::Started { generation, .. } => {
                let (started, ready) = (now, None);
                let lifetime = Lifetime { started, ready };
                self.lifetimes.insert(*generation, lifetime);
            }
            Report::Ready { generation, .. } => {
                if let Some(lifetime) = self.lifetimes.get_mut(generation) {
                    lifetime.ready = Some(now);
                }
            }
            Report::FailedToStart {
                generation,
                pid,
                status,
            } => {
                self.failed_worker = Some(*pid);
                self.start_failed(*generation, describe_end(*status));
            }
            Report::NeverReady {
                generation,
                pid,
                after,
            } => {
                self.failed_worker = Some(*pid);
                let reason = format!("never said READY=1 in {} s", Seconds(*after));
                self.start_failed(*generation, reason);
            }
            Report::NotSpawned { generation } => {
                self.failed_worker = None;
                let reason = self.failure.take();
                let reason = reason.unwrap_or_else(|| "no process".to_owned());
                self.start_failed(*generation, reason);
            }
            Report::CheckFailed { timed_out, kept } => {
                if let Some(time) = timed_out {
                    let reason = format!("the check did not end in {} s", Seconds(*time));
                    self.failure = Some(reason);
                }
                self.reload_failed(*kept);
            }
            Report::Reloading(_) | Report::AutoRestart { .. } => {
                self.failed_worker = None;
                self.reloading = true;
                self.failure = None;
            }
            Report::GaveUp { kept, .. } => self.reload_failed(*kept),
            Report::DiedUnexpectedly { .. }
            | Report::OldDied {
                was_current: true, ..
            } => self.counters.unexpected_deaths += 1,
            Report::Settled => {
                self.failure = None;
                if std::mem::take(&mut self.reloading) {
                    self.counters.reloads_succeeded += 1;
                    self.last_reload = Some(Verdict {
                        at: unix_time(),
                        generation: current,
                        failure: None,
                    });
                }
            }
            _ => {}
        }
    }

    fn start_failed(&mut self, generation: Generation, mut reason: String) {
        self.counters.starts_failed += 1;
        if let Some(text) = self.status_texts.get(&generation) {
            let _ = write!(reason, " (it said: {text})");
        }
        self.failure = Some(reason);
    }

    fn reload_failed(&mut self, kept: Option<Generation>) {
        let reason = self.failure.as_deref().unwrap_or("it did not start");
        self.last_reload = Some(Verdict {
            at: unix_time(),
            generation: kept,
            failure: Some(reason.to_owned()),
        });
        if std::mem::take(&mut self.reloading) {
            self.counters.reloads_failed += 1;
        }
    }
}

/// `reload at 12:03:01 failed: exit code 1, generation 7 kept`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = local_time(self.at);
        let Some(failure) = &self.failure else {
            return write!(f, "reload at {time} succeeded");
        };
        write!(f, "reload at {time} failed: {failure}")?;
        match self.generation {
            Some(generation) => write!(f, ", generation {generation} kept"),
            None => Ok(()),
        }
    }
}
