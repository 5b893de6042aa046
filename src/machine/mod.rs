//! The pure machine: it decides when a generation is started and which workers are signalled.
//!
//! One sentence rules everything here: *workers are replaced if, and only if, their successor is
//! ready*. The machine does no I/O, reads no clock and knows no pid it was not told. Whatever can
//! go wrong outside arrives as an [`Event`]; what is to be done about it leaves as a list of
//! [`Action`]s. So every race is a unit test, and the whole space of event orders can be walked
//! through (`model_check/` does).
//!
//! ```text
//!            +--------------------- failed, try again ------------------+
//!            v                                                          |
//! (start) WaitingToStart --time--> Spawning --spawned--> Watching --died-------+
//!            ^                                       |   \--- failed too often ---> Serving
//!            | current worker died                   | ready                     (or Stopping,
//!            |                                       v                            none is left)
//!         Serving <--------time------------------ KillOldDelay (kill-old-delay)
//!
//! TERM, INT, QUIT in every state: Stopping --last worker gone--> Ended
//! ```
//!
//! What makes a worker ready is a rule, [`Readiness`]: its own word, to have lived for the interval,
//! or either. One that was to say it and has not, in time, has failed.
//!
//! A HUP in `Serving` starts a new generation; in `WaitingToStart` the coming attempt answers it; in the
//! other states it is remembered, and answered by one more generation when this one is through.
//!
//! A reload may begin with a check (`Checking`, between `Serving` and `Spawning`): when it fails,
//! nothing is started and the reload is over.

mod backoff;
mod event;
mod requests;
mod saved;
mod transitions;
mod worker;

#[cfg(test)]
mod model_check;
#[cfg(test)]
mod tests;

pub use event::{
    Action, Answer, Event, Generation, LiveSettings, Notification, Readiness, Report, Request,
    RequestId, Rules, SpawnFailure, State, Time, Trigger, Until, WorkerState,
};

pub(crate) use saved::Saved;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::Pid;
use backoff::CrashLoop;
use requests::Requests;
use worker::{Stage, Workers};

/// The least time from one failed attempt to the next, however short the interval.
pub const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Phase {
    /// Nothing: the current worker serves.
    Serving,
    /// A reload, before its first attempt: it is being checked, and has to be done by then.
    Checking { since: Time, until: Time },
    /// A start, between two attempts (or before the first).
    WaitingToStart { until: Time },
    /// A start: the process has been asked for.
    Spawning { generation: Generation },
    /// A start: the new worker has to live, or to say that it is ready, until then.
    Starting { pid: Pid, since: Time, until: Time },
    /// The new worker is ready; the old ones may live until then.
    KillOldDelay { kill_at: Time },
    /// Everyone has been told to leave; this will be the exit status.
    Stopping { code: u8 },
    /// No worker is left and none will ever be started.
    Ended,
}

/// Why a start is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Cause {
    /// Nothing has ever served.
    First,
    /// The current worker died.
    Replacement,
    /// HUP, or the auto-restart interval.
    Reload,
}

/// The start that is under way, or was the last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    cause: Cause,
    /// Attempts that have failed in a row.
    failures: u32,
    /// When the latest attempt began.
    attempt_at: Time,
}

/// Decides; see the [module's page](self).
///
/// Its caller owes it three things: events in the order in which they happened, a `now` that never
/// runs backwards, and a [`Event::Tick`] no later than [`deadline`](Machine::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    rules: Rules,
    phase: Phase,
    start: Start,
    workers: Workers,
    last_generation: Generation,
    /// A reload is waiting for the start that is under way.
    reload_wanted: Option<Trigger>,
    requests: Requests,
    /// Auto-restart counts from here: the last readiness, or the last reload that was given up.
    restart_base: Time,
    crashes: CrashLoop,
}

impl Machine {
    /// A machine that starts its first generation at the first [`Event::Tick`].
    pub fn new(rules: Rules) -> Machine {
        Machine {
            rules,
            phase: Phase::WaitingToStart { until: Time::ZERO },
            start: Start {
                cause: Cause::First,
                failures: 0,
                attempt_at: Time::ZERO,
            },
            workers: Workers::default(),
            last_generation: 0,
            reload_wanted: None,
            requests: Requests::default(),
            restart_base: Time::ZERO,
            crashes: CrashLoop::default(),
        }
    }

    /// Takes in what happened and says what to do about it. This is the transition table; the
    /// transitions are in `transitions/`, one function each.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        use Event::*;
        use Phase::*;
        let mut todo = Vec::new();
        match (self.phase, event) {
            (Ended, ReloadRequested(request)) => {
                todo.push(Action::Answer(request, Answer::Stopped))
            }
            (Ended, _) => {}

            (Stopping { code }, Stop(received)) => self.stop(received, code, now, &mut todo),
            (_, Stop(received)) => self.stop(received, 0, now, &mut todo),

            (_, Hup) => self.reload_asked(Trigger::Hup, now, &mut todo),
            (_, SocketReplaced) => self.reload_asked(Trigger::SocketReplaced, now, &mut todo),
            (_, ReloadRequested(request)) => {
                self.requests.add(request);
                self.reload_asked(Trigger::Request, now, &mut todo)
            }
            (_, RequesterGone(id)) => self.requests.forget(id),

            (Checking { .. }, CheckPassed) => self.spawn(now, &mut todo),
            (Checking { .. }, CheckFailed) => self.check_failed(None, now, &mut todo),
            (_, CheckPassed | CheckFailed) => {} // it took too long

            (Spawning { generation }, Spawned(pid)) => self.watch(generation, pid, now, &mut todo),
            (Spawning { generation }, SpawnFailed(why)) => {
                self.not_spawned(generation, why, now, &mut todo)
            }
            (_, Spawned(_) | SpawnFailed(_)) => {} // nobody asked: see Action::Spawn

            (_, Notified(generation, word)) => self.said(generation, word, now, &mut todo),
            (_, Exited(pid, status)) => self.exited(pid, status, now, &mut todo),
            (_, SettingsChanged(live_settings)) => self.rules.live_settings = live_settings,

            (_, Tick) => {
                self.kill_overdue(now, &mut todo);
                self.abort_silent(now, &mut todo);
                match self.phase {
                    WaitingToStart { until } if until <= now => self.spawn(now, &mut todo),
                    Starting { pid, since, until } if until <= now => {
                        self.waited_enough(pid, until.saturating_sub(since), now, &mut todo)
                    }
                    KillOldDelay { kill_at } if kill_at <= now => self.settle(now, &mut todo),
                    Checking { since, until } if until <= now => {
                        let time = until.saturating_sub(since);
                        self.check_failed(Some(time), now, &mut todo)
                    }
                    Serving => self.auto_restart(now, &mut todo),
                    _ => {}
                }
            }
        }
        todo
    }

    /// A reload is wanted, by what is under way.
    fn reload_asked(&mut self, by: Trigger, now: Time, todo: &mut Vec<Action>) {
        use Phase::*;
        match self.phase {
            Serving => self.reload(by, now, todo),
            WaitingToStart { until } => self.expedite_retry(by, until, now, todo),
            Checking { .. } | Spawning { .. } | Starting { .. } | KillOldDelay { .. } => {
                self.queue_reload(by, todo)
            }
            Stopping { .. } | Ended => self.requests.stopped(todo),
        }
    }

    /// A death, by what the dead worker was to us: the second half of the table.
    fn exited(&mut self, pid: Pid, status: i32, now: Time, todo: &mut Vec<Action>) {
        use Phase::*;
        let was_current = self.workers.current().is_some_and(|w| w.pid == pid);
        let Some(dead) = self.workers.remove(pid) else {
            return; // not a worker of ours
        };
        match self.phase {
            Stopping { code } => self.stopped_worker(dead, status, code, todo),
            Starting { pid: new, .. } if new == pid => {
                self.failed_to_start(dead, status, now, todo)
            }
            _ if dead.stage == Stage::GivenUp => self.given_up_died(dead, status, todo),
            Serving | KillOldDelay { .. } if was_current => self.replace(dead, status, now, todo),
            Checking { .. } if was_current => {
                todo.push(Action::EndCheck); // nobody serves: there is nothing to be careful about
                self.replace(dead, status, now, todo);
            }
            // An old worker; or the current one while a start is under way: that is its
            // replacement.
            WaitingToStart { until } if was_current => {
                self.old_died(dead, was_current, status, todo);
                self.retry_now(until, now, todo);
            }
            _ => self.old_died(dead, was_current, status, todo),
        }
        self.answer_the_drained(todo);
    }

    /// When the next [`Event::Tick`] is due at the latest; none: nothing will happen by itself.
    pub fn deadline(&self) -> Option<Time> {
        let phase = match self.phase {
            Phase::WaitingToStart { until } => Some(until),
            Phase::Starting { until, .. } => Some(until),
            Phase::KillOldDelay { kill_at } => Some(kill_at),
            Phase::Checking { until, .. } => Some(until),
            Phase::Serving => self.next_auto_restart(),
            Phase::Spawning { .. } | Phase::Stopping { .. } | Phase::Ended => None,
        };
        match (phase, self.workers.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The workers that have been ready and are still alive, told to leave or not, in the order
    /// of their generations: what the status file lists.
    pub fn live(&self) -> impl Iterator<Item = (Generation, Pid)> + '_ {
        self.workers
            .iter()
            .filter(|w| !matches!(w.stage, Stage::Starting | Stage::GivenUp))
            .map(|w| (w.generation, w.pid))
    }

    /// Who serves: the newest worker that is ready and has not been told to leave.
    pub fn current(&self) -> Option<(Generation, Pid)> {
        self.workers.current().map(|w| (w.generation, w.pid))
    }

    /// All workers, in the order of their generations.
    pub fn workers(&self) -> impl Iterator<Item = (Generation, Pid, WorkerState)> + '_ {
        self.workers.iter().map(|worker| {
            let standing = match worker.stage {
                Stage::Starting => WorkerState::Starting,
                Stage::Ready { .. } => WorkerState::Ready,
                Stage::Leaving => WorkerState::Draining,
                Stage::GivenUp => WorkerState::GivenUp,
            };
            (worker.generation, worker.pid, standing)
        })
    }

    /// What it is about.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Serving => State::Serving,
            Phase::Stopping { .. } | Phase::Ended => State::Stopping,
            _ if self.workers.current().is_some() => State::Reloading,
            _ => State::Starting,
        }
    }

    /// The generation of a worker; none: this process is none of ours, as far as the machine knows.
    pub fn generation_of(&self, pid: Pid) -> Option<Generation> {
        let worker = self.workers.iter().find(|w| w.pid == pid);
        worker.map(|w| w.generation)
    }
}
