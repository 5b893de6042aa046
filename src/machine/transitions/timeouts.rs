//! Times that are set for a single worker: its next ping, and its SIGKILL. No phase changes here.

use std::time::Duration;

use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::{Generation, Notification};
use crate::machine::state::MachineState;
use crate::machine::workers::{Kill, WorkerState};
use crate::types::Pid;

/// From the first signal to SIGKILL for a worker that was never ready, or is stuck, if there is no
/// stop time-out. Such a worker has no requests that are worth waiting for.
pub(super) const LAST_GRACE: Duration = Duration::from_secs(10);

impl MachineState {
    /// A notification from a worker that is not starting.
    pub(in crate::machine) fn notified(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        notification: Notification,
    ) {
        let Some(worker) = self.workers.of_generation(generation) else {
            return;
        };
        let pid = worker.pid;
        match (worker.state, notification) {
            (WorkerState::Ready, Notification::Ping) => {
                // A worker that was found silent has no next ping: it is being aborted.
                if let (Some(at), Some(every)) = (&mut worker.ping_by, cx.rules.worker_watchdog) {
                    *at = cx.now.saturating_add(every);
                }
            }
            (WorkerState::Ready, Notification::Stuck) => {
                if worker.ping_by.take().is_some() {
                    self.abort(cx, pid, None);
                }
            }
            (WorkerState::Draining, Notification::Extend(by)) => {
                if let Some(kill) = &mut worker.kill {
                    kill.postpone(cx.now.saturating_add(by));
                }
                // Reported without a stop time-out, too: the service manager may have one.
                cx.report(Report::Extended { generation, by });
            }
            (WorkerState::Ready, Notification::Ready | Notification::Extend(_))
            | (
                WorkerState::Draining,
                Notification::Ready | Notification::Ping | Notification::Stuck,
            )
            | (WorkerState::Starting | WorkerState::GivenUp, _) => {}
        }
    }

    /// Aborts the workers that have not pinged in time.
    pub(in crate::machine) fn abort_silent(&mut self, cx: &mut Context<'_>) {
        for pid in self.workers.take_silent(cx.now) {
            self.abort(cx, pid, cx.rules.worker_watchdog);
        }
    }

    /// Sends SIGABRT to a stuck worker, for a core dump. Its death then has it replaced.
    fn abort(&mut self, cx: &mut Context<'_>, pid: Pid, silent: Option<Duration>) {
        let Some(worker) = self.workers.get_mut(pid) else {
            return;
        };
        worker.stuck = true;
        let generation = worker.generation;
        self.schedule_kill(cx, pid);
        cx.report(Report::Stuck {
            generation,
            pid,
            silent,
        });
        cx.act(Action::Abort(pid));
    }

    /// Sets the time of SIGKILL for a worker that was never ready, or is stuck.
    pub(super) fn schedule_kill(&mut self, cx: &Context<'_>, pid: Pid) {
        let grace = cx.rules.stop_timeout.unwrap_or(LAST_GRACE);
        if let Some(worker) = self.workers.get_mut(pid) {
            worker.kill = Some(Kill::in_time(cx.now, grace));
        }
    }

    /// Gives every time that runs for a worker a fresh start.
    pub(in crate::machine) fn restart_worker_times(&mut self, cx: &Context<'_>) {
        self.workers.restart_times(cx.now, cx.rules.worker_watchdog);
    }

    /// Sends SIGKILL to the workers that have not left in time.
    pub(in crate::machine) fn kill_overdue(&mut self, cx: &mut Context<'_>) {
        for (generation, pid, after) in self.workers.take_overdue(cx.now) {
            cx.report(Report::Overdue {
                generation,
                pid,
                after,
            });
            cx.act(Action::Kill(pid));
        }
    }
}
