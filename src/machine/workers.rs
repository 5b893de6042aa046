//! The live workers, as the machine sees them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Time};
use crate::types::{Pid, Signal};

/// How far a worker has come. Its state only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// Alive, but not ready yet.
    Starting,
    /// Serving.
    Ready,
    /// Told to leave.
    Draining,
    /// Not ready in time, and told to leave. Such a worker has never served.
    GivenUp,
}

/// What a worker is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Not ready yet.
    New,
    /// Of the ready workers the newest: the one that serves.
    Current,
    /// Draining, or ready and about to be told to leave.
    Old,
    /// Not ready in time, and told to leave.
    GivenUp,
}

/// A live process of some generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) generation: Generation,
    pub(super) pid: Pid,
    pub(super) state: WorkerState,
    /// When the worker became ready; `None` unless it is [`WorkerState::Ready`].
    pub(super) ready_since: Option<Time>,
    /// When the worker's next ping is due; `None` unless it is ready and has to ping.
    pub(super) ping_by: Option<Time>,
    /// The worker was found stuck, and has been sent SIGABRT.
    pub(super) stuck: bool,
    /// The signal by which the worker was told to leave. SIGABRT for a stuck worker is not one.
    pub(super) told: Option<Signal>,
    /// When SIGKILL is due; `None` if it is not, or has been sent.
    pub(super) kill: Option<Kill>,
    /// The worker was started by a supervisor that was killed.
    pub(super) adopted: bool,
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

impl Worker {
    fn new(generation: Generation, pid: Pid) -> Worker {
        Worker {
            generation,
            pid,
            state: WorkerState::Starting,
            ready_since: None,
            ping_by: None,
            stuck: false,
            told: None,
            kill: None,
            adopted: false,
        }
    }

    /// A worker of a supervisor that was killed. Pings that it was told to send are not received.
    fn adopted(generation: Generation, pid: Pid, ready_since: Time) -> Worker {
        Worker {
            state: WorkerState::Ready,
            ready_since: Some(ready_since),
            adopted: true,
            ..Worker::new(generation, pid)
        }
    }

    /// Whether the worker lives on when the supervisor gives up: it is adopted, and has not been told
    /// to leave.
    pub(super) fn is_left_behind(&self) -> bool {
        self.adopted && self.state == WorkerState::Ready
    }

    /// Moves a new worker to [`WorkerState::Ready`].
    pub(super) fn ready(&mut self, now: Time, watchdog: Option<Duration>) {
        self.state = WorkerState::Ready;
        self.ready_since = Some(now);
        self.ping_by = watchdog.map(|every| now.saturating_add(every));
    }

    /// Moves the worker to [`WorkerState::Draining`], told by `signal`. The stop time-out counts from the
    /// first signal.
    pub(super) fn drain(&mut self, signal: Signal, now: Time, timeout: Option<Duration>) {
        self.told = Some(signal);
        match self.state {
            WorkerState::Starting | WorkerState::Ready => {
                self.state = WorkerState::Draining;
                self.ready_since = None;
                self.ping_by = None;
                // SIGKILL for a stuck worker may be due earlier.
                let kill = timeout.map(|after| Kill::in_time(now, after));
                self.kill = self.kill.take().or(kill);
            }
            WorkerState::Draining | WorkerState::GivenUp => {}
        }
    }

    /// Whether the worker is ready or was: whether clients may depend on it.
    pub(super) fn has_served(&self) -> bool {
        matches!(self.state, WorkerState::Ready | WorkerState::Draining)
    }
}

/// All live workers, in the order of their generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    pub(super) fn add(&mut self, generation: Generation, pid: Pid) {
        self.0.push(Worker::new(generation, pid));
    }

    /// Adds a worker of a supervisor that was killed.
    pub(super) fn adopt(&mut self, generation: Generation, pid: Pid, ready_since: Time) {
        self.0.push(Worker::adopted(generation, pid, ready_since));
    }

    /// Removes a dead worker. Returns it with the role that it had.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<(Worker, Role)> {
        let role = self.role(pid)?;
        let at = self.0.iter().position(|w| w.pid == pid)?;
        Some((self.0.remove(at), role))
    }

    pub(super) fn role(&self, pid: Pid) -> Option<Role> {
        let is_current = self.current().is_some_and(|w| w.pid == pid);
        let worker = self.0.iter().find(|w| w.pid == pid)?;
        Some(match worker.state {
            WorkerState::Starting => Role::New,
            WorkerState::Ready if is_current => Role::Current,
            WorkerState::Ready | WorkerState::Draining => Role::Old,
            WorkerState::GivenUp => Role::GivenUp,
        })
    }

    pub(super) fn get_mut(&mut self, pid: Pid) -> Option<&mut Worker> {
        self.0.iter_mut().find(|w| w.pid == pid)
    }

    pub(super) fn of_generation(&mut self, generation: Generation) -> Option<&mut Worker> {
        self.0.iter_mut().find(|w| w.generation == generation)
    }

    /// The worker that serves: the newest of the ready ones.
    pub(super) fn current(&self) -> Option<&Worker> {
        let mut newest_first = self.0.iter().rev();
        newest_first.find(|w| w.state == WorkerState::Ready)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter()
    }

    /// The workers that the supervisor has to wait for before it ends, in numeric order.
    pub(super) fn awaited(&self) -> Vec<Pid> {
        self.pids_where(|w| !w.is_left_behind())
    }

    /// Whether a worker that has served is still draining.
    pub(super) fn any_draining(&self) -> bool {
        self.0.iter().any(|w| w.state == WorkerState::Draining)
    }

    /// Whether a worker other than the current one is alive.
    pub(super) fn any_old(&self) -> bool {
        let current = self.current().map(|w| w.pid);
        self.0.iter().any(|w| Some(w.pid) != current)
    }

    /// All workers, in numeric order.
    pub(super) fn pids(&self) -> Vec<Pid> {
        self.pids_where(|_| true)
    }

    /// The workers of generations below `generation` that have not been told to leave, in numeric order.
    pub(super) fn untold_before(&self, generation: Generation) -> Vec<Pid> {
        self.pids_where(|w| w.generation < generation && w.told.is_none())
    }

    /// Whether a worker was told to leave by this very signal.
    pub(super) fn is_told_by(&self, pid: Pid, signal: Signal) -> bool {
        let mut workers = self.0.iter();
        workers.any(|w| w.pid == pid && w.told == Some(signal))
    }

    fn pids_where(&self, which: impl Fn(&Worker) -> bool) -> Vec<Pid> {
        let mut pids: Vec<Pid> = self.0.iter().filter(|w| which(w)).map(|w| w.pid).collect();
        pids.sort_unstable();
        pids
    }

    /// When the first SIGKILL, or the first ping, is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let kills = self.0.iter().filter_map(|w| Some(w.kill.as_ref()?.at));
        kills.chain(self.0.iter().filter_map(|w| w.ping_by)).min()
    }

    /// Makes every ping and every SIGKILL due a whole period from now, if it is not due later.
    pub(super) fn restart_times(&mut self, now: Time, watchdog: Option<Duration>) {
        for worker in &mut self.0 {
            if let (Some(at), Some(every)) = (&mut worker.ping_by, watchdog) {
                *at = now.saturating_add(every);
            }
            if let Some(kill) = &mut worker.kill {
                kill.at = kill.at.max(now.saturating_add(kill.after));
            }
        }
    }

    /// The workers whose SIGKILL is due, with the time that they had. Each is named once.
    pub(super) fn take_overdue(&mut self, now: Time) -> Vec<(Generation, Pid, Duration)> {
        let is_due = |kill: &mut Kill| kill.at <= now;
        let overdue = self.0.iter_mut().filter_map(|w| {
            let kill = w.kill.take_if(is_due)?;
            Some((w.generation, w.pid, kill.after))
        });
        overdue.collect()
    }

    /// The workers whose ping is overdue. Each is named once.
    pub(super) fn take_silent(&mut self, now: Time) -> Vec<Pid> {
        let is_due = |at: &mut Time| *at <= now;
        let silent = self.0.iter_mut().filter_map(|w| {
            w.ping_by.take_if(is_due)?;
            Some(w.pid)
        });
        silent.collect()
    }
}
