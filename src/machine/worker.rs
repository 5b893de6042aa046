//! One worker, as the machine sees it, and the few of them there are at a time.

use std::time::Duration;

use super::event::{Generation, Time};
use crate::units::Pid;

/// A live process of some generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) generation: Generation,
    pub(super) pid: Pid,
    pub(super) stage: Stage,
    /// When SIGKILL is due, once it has been told to leave.
    pub(super) kill_at: Option<Time>,
}

/// How far a worker has come in its life. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Alive, not yet known to serve.
    Starting,
    /// Serving since then, and not told otherwise.
    Ready { since: Time },
    /// Has been told to leave.
    Leaving,
}

/// All live workers, in the order of their generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    pub(super) fn add(&mut self, generation: Generation, pid: Pid) {
        self.0.push(Worker {
            generation,
            pid,
            stage: Stage::Starting,
            kill_at: None,
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

    /// Those whose generation is below `generation`, whatever their stage.
    pub(super) fn older_than(&self, generation: Generation) -> Vec<Pid> {
        self.pids(|w| w.generation < generation)
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

    /// Whether somebody other than the current worker is alive.
    pub(super) fn any_old(&self) -> bool {
        let current = self.current().map(|w| w.pid);
        self.0.iter().any(|w| Some(w.pid) != current)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter()
    }

    /// Moves a worker to [`Stage::Leaving`]. The time-out counts from the first signal.
    pub(super) fn told_to_leave(&mut self, pid: Pid, now: Time, timeout: Option<Duration>) {
        if let Some(worker) = self.get_mut(pid) {
            if worker.stage != Stage::Leaving {
                worker.stage = Stage::Leaving;
                worker.kill_at = timeout.map(|t| now.saturating_add(t));
            }
        }
    }

    /// The earliest SIGKILL that is due some day.
    pub(super) fn next_kill(&self) -> Option<Time> {
        self.0.iter().filter_map(|w| w.kill_at).min()
    }

    /// Those whose SIGKILL is due; each is named once.
    pub(super) fn take_overdue(&mut self, now: Time) -> Vec<(Generation, Pid)> {
        let overdue = self
            .0
            .iter_mut()
            .filter(|w| w.kill_at.is_some_and(|at| at <= now));
        overdue
            .map(|w| {
                w.kill_at = None;
                (w.generation, w.pid)
            })
            .collect()
    }
}
