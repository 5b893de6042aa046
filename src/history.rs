//! What has happened so far: for systemd's status line, for `--status`, and for those who ask why a
//! reload failed.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::machine::{Generation, Report, Time};
use crate::sys::clock::{local_time, unix_time};
use crate::sys::process::describe_status;
use crate::types::{Pid, Seconds};
use crate::worker::StatusText;

/// The memory of a supervisor. It outlives the program: the next one in this process goes on with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// When the supervisor was started, in seconds since 1970.
    pub(crate) since: u64,
    /// How the latest attempt of the start that is under way failed.
    failure: Option<String>,
    /// The process that failed, if there was one.
    failed_worker: Option<Pid>,
    last_reload: Option<Verdict>,
    reloading: bool,
    /// What live workers have last said of themselves.
    sayings: BTreeMap<Generation, String>,
    lives: BTreeMap<Generation, Life>,
    pub(crate) counters: Counters,
}

/// The life of a worker so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Life {
    pub(crate) started: Time,
    /// Since then it has counted as started.
    pub(crate) ready: Option<Time>,
}

/// How a reload ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// The generation that serves since.
    pub(crate) generation: Option<Generation>,
    /// None: it is the new one. Else why it is not.
    pub(crate) failure: Option<String>,
}

/// How often things have happened since the start of the supervisor; a part of the control socket's
/// Status, too. Unknown fields are ignored: a client may be older than the supervisor, and for an
/// upgrade to an older release a count may be lost.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counters {
    pub(crate) reloads_succeeded: u64,
    pub(crate) reloads_failed: u64,
    /// Workers, or attempts to make one, that were never ready.
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
            sayings: BTreeMap::new(),
            lives: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// A worker's own words stand behind its name from now on. Says whether they are new.
    pub(crate) fn says(&mut self, saying: StatusText) -> bool {
        let StatusText { generation, text } = saying;
        tracing::debug!(generation, "generation {generation} says: {text}");
        self.sayings.insert(generation, text.clone()).as_ref() != Some(&text)
    }

    /// What a worker has said last of itself.
    pub(crate) fn words_of(&self, generation: Generation) -> Option<&str> {
        self.sayings.get(&generation).map(String::as_str)
    }

    /// What the newest worker that has said anything has said last.
    pub(crate) fn latest_words(&self) -> Option<&str> {
        self.sayings.values().next_back().map(String::as_str)
    }

    /// A worker has gone, and its words with it.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.sayings.remove(&generation);
        self.lives.remove(&generation);
    }

    pub(crate) fn life_of(&self, generation: Generation) -> Option<Life> {
        self.lives.get(&generation).copied()
    }

    /// Why an attempt gave no process, or a check failed; told before the machine reports it.
    pub(crate) fn attempt_failed(&mut self, reason: &str) {
        self.failure = Some(reason.to_owned());
    }

    /// The same of a check that has run.
    pub(crate) fn check_failed(&mut self, pid: Option<Pid>, reason: &str) {
        self.failed_worker = pid;
        self.attempt_failed(reason);
    }

    /// How the latest attempt failed; none: the first is under way, or none.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The last worker, or check, that failed.
    pub(crate) fn failed_worker(&self) -> Option<Pid> {
        self.failed_worker
    }

    pub(crate) fn last_reload(&self) -> Option<&Verdict> {
        self.last_reload.as_ref()
    }

    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading
    }

    /// Why the last start was given up.
    pub(crate) fn reason(&self) -> &str {
        let verdict = || self.last_reload.as_ref()?.failure.as_deref();
        let reason = self.failure().or_else(verdict);
        reason.unwrap_or("it did not start")
    }

    /// Takes in what has happened. `current`: the generation that serves now.
    pub(crate) fn report(&mut self, report: &Report, current: Option<Generation>, now: Time) {
        match report {
            Report::Started { generation, .. } => {
                let life = Life {
                    started: now,
                    ready: None,
                };
                self.lives.insert(*generation, life);
            }
            Report::Ready { generation, .. } => {
                if let Some(life) = self.lives.get_mut(generation) {
                    life.ready = Some(now);
                }
            }
            Report::FailedToStart {
                generation,
                pid,
                status,
            } => {
                self.failed_worker = Some(*pid);
                self.failed(*generation, describe_status(*status));
            }
            Report::NeverReady {
                generation,
                pid,
                after,
            } => {
                self.failed_worker = Some(*pid);
                let how = format!("never said READY=1 in {} s", Seconds(*after));
                self.failed(*generation, how);
            }
            Report::NotSpawned { generation } => {
                self.failed_worker = None;
                let how = self.failure.take();
                self.failed(*generation, how.unwrap_or_else(|| "no process".to_owned()));
            }
            Report::CheckFailed { timed_out, kept } => {
                if let Some(time) = timed_out {
                    let how = format!("the check did not end in {} s", Seconds(*time));
                    self.failure = Some(how);
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

    fn failed(&mut self, generation: Generation, mut how: String) {
        self.counters.starts_failed += 1;
        if let Some(words) = self.sayings.get(&generation) {
            let _ = write!(how, " (it said: {words})");
        }
        self.failure = Some(how);
    }

    fn reload_failed(&mut self, kept: Option<Generation>) {
        let how = self.failure.as_deref().unwrap_or("it did not start");
        self.last_reload = Some(Verdict {
            at: unix_time(),
            generation: kept,
            failure: Some(how.to_owned()),
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
