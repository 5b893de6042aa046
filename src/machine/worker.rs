//! One worker, as the machine sees it, and the few of them there are at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Time};
use crate::types::Pid;

/// A live process of some generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) generation: Generation,
    pub(super) pid: Pid,
    pub(super) stage: Stage,
    /// Once it has been told to leave: when it is made to.
    pub(super) kill: Option<Kill>,
    /// Once it is ready, if it has to ping: when it has been silent for too long.
    pub(super) ping_by: Option<Time>,
    /// It has been found stuck, and is being ended for that.
    pub(super) stuck: bool,
}

/// When SIGKILL is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kill {
    pub(super) at: Time,
    /// How long the worker has had by then.
    pub(super) after: Duration,
}

impl Kill {
    pub(super) fn in_time(now: Time, after: Duration) -> Kill {
        Kill {
            at: now.saturating_add(after),
            after,
        }
    }

    /// Not before `at`.
    pub(super) fn postpone(&mut self, at: Time) {
        self.after = self.after.saturating_add(at.saturating_sub(self.at));
        self.at = self.at.max(at);
    }
}

/// How far a worker has come in its life. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Stage {
    /// Alive, not yet known to serve.
    Starting,
    /// Serving since then, and not told otherwise.
    Ready { since: Time },
    /// Has been told to leave.
    Leaving,
    /// Was not ready in time, and has been told to leave. It has never served.
    GivenUp,
}

impl Worker {
    /// Moves it to [`Stage::Leaving`]. The time-out counts from the first signal.
    fn told_to_leave(&mut self, now: Time, timeout: Option<Duration>) {
        if matches!(self.stage, Stage::Leaving | Stage::GivenUp) {
            return;
        }
        self.stage = Stage::Leaving;
        self.ping_by = None;
        // A stuck one may have less time already.
        let in_time = timeout.map(|after| Kill::in_time(now, after));
        self.kill = self.kill.take().or(in_time);
    }
}

/// All live workers, in the order of their generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    pub(super) fn add(&mut self, generation: Generation, pid: Pid) {
        self.0.push(Worker {
            generation,
            pid,
            stage: Stage::Starting,
            kill: None,
            ping_by: None,
            stuck: false,
        });
    }

    /// Takes a dead worker out.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<Worker> {
        let at = self.0.iter().position(|w| w.pid == pid)?;
        Some(self.0.remove(at))
    }

    pub(super) fn get_mut(&mut self, pid: Pid) -> Option<&mut Worker> {
        self.0.iter_mut().find(|w| w.pid == pid)
    }

    /// The worker that serves: of the ready ones nobody told to leave, the newest.
    pub(super) fn current(&self) -> Option<&Worker> {
        self.0
            .iter()
            .rev()
            .find(|w| matches!(w.stage, Stage::Ready { .. }))
    }

    /// Those whose generation is below `generation`, whatever their stage, in numeric order.
    pub(super) fn older_than(&self, generation: Generation) -> Vec<Pid> {
        self.pids(|w| w.generation < generation)
    }

    /// Moves all whose generation is below `generation` to [`Stage::Leaving`], whatever their stage.
    /// Says what that was, in numeric order.
    pub(super) fn tell_older(
        &mut self,
        generation: Generation,
        now: Time,
        timeout: Option<Duration>,
    ) -> Vec<(Pid, Stage)> {
        let older = self.0.iter_mut().filter(|w| w.generation < generation);
        let tell = |worker: &mut Worker| {
            let stage = worker.stage;
            worker.told_to_leave(now, timeout);
            (worker.pid, stage)
        };
        let mut told: Vec<(Pid, Stage)> = older.map(tell).collect();
        told.sort_unstable_by_key(|(pid, _)| *pid);
        told
    }

    /// Everyone, in numeric order.
    pub(super) fn all(&self) -> Vec<Pid> {
        self.pids(|_| true)
    }

    fn pids(&self, which: impl Fn(&Worker) -> bool) -> Vec<Pid> {
        let mut pids: Vec<Pid> = self.0.iter().filter(|w| which(w)).map(|w| w.pid).collect();
        pids.sort_unstable();
        pids
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody who has served is still finishing that.
    pub(super) fn any_leaving(&self) -> bool {
        self.0.iter().any(|w| w.stage == Stage::Leaving)
    }

    /// Whether somebody other than the current worker is alive.
    pub(super) fn any_old(&self) -> bool {
        let current = self.current().map(|w| w.pid);
        self.0.iter().any(|w| Some(w.pid) != current)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter()
    }

    pub(super) fn of_generation(&mut self, generation: Generation) -> Option<&mut Worker> {
        self.0.iter_mut().find(|w| w.generation == generation)
    }

    /// Moves a worker to [`Stage::Leaving`].
    pub(super) fn told_to_leave(&mut self, pid: Pid, now: Time, timeout: Option<Duration>) {
        if let Some(worker) = self.get_mut(pid) {
            worker.told_to_leave(now, timeout);
        }
    }

    /// When the first of them is to be killed, or has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        let kills = self.0.iter().filter_map(|w| Some(w.kill.as_ref()?.at));
        kills.chain(self.0.iter().filter_map(|w| w.ping_by)).min()
    }

    /// Those whose SIGKILL is due, with the time that they had; each is named once.
    pub(super) fn take_overdue(&mut self, now: Time) -> Vec<(Generation, Pid, Duration)> {
        let is_due = |kill: &mut Kill| kill.at <= now;
        let overdue = self.0.iter_mut().filter_map(|w| {
            let kill = w.kill.take_if(is_due)?;
            Some((w.generation, w.pid, kill.after))
        });
        overdue.collect()
    }

    /// Those who should have pinged by now; each is named once.
    pub(super) fn take_silent(&mut self, now: Time) -> Vec<Pid> {
        let silent = self
            .0
            .iter_mut()
            .filter_map(|w| w.ping_by.take_if(|at| *at <= now).map(|_| w.pid));
        silent.collect()
    }
}
