//! What workers say, and what it means that they do not.

use std::time::Duration;

use super::{Todo, report};
use crate::machine::event::{Action, Generation, Notification, Readiness, Report, Time};
use crate::machine::worker::{Kill, Stage, Worker};
use crate::machine::{Machine, Phase};
use crate::types::{Pid, Signal};

/// For a worker that has to go and was never ready, or is stuck: from its signal to SIGKILL, unless
/// there is a stop time-out. Nobody waits for what it has under way.
pub(super) const LAST_GRACE: Duration = Duration::from_secs(10);

impl Machine {
    pub(in crate::machine) fn said(
        &mut self,
        generation: Generation,
        word: Notification,
        now: Time,
        todo: &mut Todo,
    ) {
        let Some(worker) = self.workers.of_generation(generation) else {
            return;
        };
        let pid = worker.pid;
        match (word, worker.stage) {
            (Notification::Ready, Stage::Starting) if self.rules.readiness != Readiness::Alive => {
                // While everything is being stopped nobody is Starting.
                self.ready(pid, now, todo);
            }
            (Notification::Extend(by), Stage::Starting) => {
                self.extend_start(generation, by, now, todo)
            }
            (Notification::Extend(by), Stage::Leaving) => {
                if let Some(kill) = &mut worker.kill {
                    kill.postpone(now.saturating_add(by));
                }
                // Without a bound of ours there is still the service manager's.
                report(todo, Report::Extended { generation, by });
            }
            (Notification::Ping, Stage::Ready { .. }) => {
                // One that was found silent is being ended, and has no appointment any more.
                if let (Some(at), Some(every)) = (&mut worker.ping_by, self.rules.worker_watchdog) {
                    *at = now.saturating_add(every);
                }
            }
            (Notification::Stuck, Stage::Ready { .. }) if worker.ping_by.take().is_some() => {
                self.abort(pid, None, now, todo);
            }
            _ => {}
        }
    }

    fn extend_start(&mut self, generation: Generation, by: Duration, now: Time, todo: &mut Todo) {
        if let (Phase::Starting { until, .. }, Readiness::Notify) =
            (&mut self.phase, self.rules.readiness)
        {
            *until = (*until).max(now.saturating_add(by));
            report(todo, Report::Extended { generation, by });
        }
    }

    /// The new worker has lived for the interval, or has let its time to say READY pass.
    pub(in crate::machine) fn waited_enough(
        &mut self,
        pid: Pid,
        after: Duration,
        now: Time,
        todo: &mut Todo,
    ) {
        if self.rules.readiness != Readiness::Notify {
            return self.ready(pid, now, todo);
        }
        let Some(worker) = self.schedule_kill(pid, now) else {
            return;
        };
        worker.stage = Stage::GivenUp;
        let generation = worker.generation;
        report(
            todo,
            Report::NeverReady {
                generation,
                pid,
                after,
            },
        );
        todo.push(Action::Signal(pid, self.rules.signal_on_term));
        self.attempt_failed(now, todo);
    }

    pub(in crate::machine) fn abort_silent(&mut self, now: Time, todo: &mut Todo) {
        for pid in self.workers.take_silent(now) {
            self.abort(pid, self.rules.worker_watchdog, now, todo);
        }
    }

    /// Sets the time of its SIGKILL.
    fn schedule_kill(&mut self, pid: Pid, now: Time) -> Option<&mut Worker> {
        let grace = self.rules.stop_timeout.unwrap_or(LAST_GRACE);
        let worker = self.workers.get_mut(pid)?;
        worker.kill = Some(Kill::in_time(now, grace));
        Some(worker)
    }

    /// A stuck worker leaves a core, and then its place: its death has it replaced.
    fn abort(&mut self, pid: Pid, silent: Option<Duration>, now: Time, todo: &mut Todo) {
        let Some(worker) = self.schedule_kill(pid, now) else {
            return;
        };
        worker.stuck = true;
        let generation = worker.generation;
        report(
            todo,
            Report::Stuck {
                generation,
                pid,
                silent,
            },
        );
        todo.push(Action::Signal(pid, Signal::ABRT));
    }
}
