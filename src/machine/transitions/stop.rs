//! How the supervisor ends.

use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::state::{MachineState, Phase};
use crate::machine::workers::Worker;
use crate::types::{Pid, Signal};

/// The exit status after giving up.
const GAVE_UP: u8 = 1;

impl MachineState {
    /// TERM, INT or QUIT was received. `Stopping` follows, or `Ended` if no worker is alive.
    pub(in crate::machine) fn stop(
        &mut self,
        cx: &mut Context<'_>,
        received: Signal,
        code: u8,
    ) -> Phase {
        let again = self.stop_requested;
        self.stop_requested = true;
        let signal = if received == Signal::TERM {
            cx.rules.signal_on_term
        } else {
            Signal::TERM
        };
        self.stop_workers(cx, Some(received), again, signal, code)
    }

    /// No worker of this supervisor serves, and no more attempts are made. Adopted workers live on.
    /// `Stopping` follows, or `Ended` if no other worker is alive.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) -> Phase {
        let kept = self.workers.current().map(|w| w.generation);
        self.requests.failed(cx, kept);
        self.stop_workers(cx, None, false, cx.rules.signal_on_term, GAVE_UP)
    }

    /// Tells the workers to leave that have not been told by this signal; all of them, if the operator asks
    /// again, which means that they should hurry.
    fn stop_workers(
        &mut self,
        cx: &mut Context<'_>,
        received: Option<Signal>,
        again: bool,
        signal: Signal,
        code: u8,
    ) -> Phase {
        self.requests.stopped(cx);
        let mut workers = match received {
            Some(_) => self.workers.pids(),
            None => self.workers.awaited(),
        };
        let alive = workers.len();
        if !again {
            workers.retain(|pid| !self.workers.is_told_by(*pid, signal));
        }
        if received.is_some() || alive > 0 {
            cx.report(Report::Stopping {
                received,
                again,
                signal,
                workers: workers.clone(),
                alive,
            });
        }
        for pid in workers {
            self.terminate(cx, pid, signal);
        }
        self.stopping(cx, code)
    }

    /// Tells a worker to leave.
    pub(super) fn terminate(&mut self, cx: &mut Context<'_>, pid: Pid, signal: Signal) {
        if let Some(worker) = self.workers.get_mut(pid) {
            worker.drain(signal, cx.now, cx.rules.stop_timeout);
        }
        cx.signal(pid, signal);
    }

    /// A worker died during a stop. `Stopping` follows, or `Ended` if it was the last one.
    pub(in crate::machine) fn stopping_worker_died(
        &mut self,
        cx: &mut Context<'_>,
        dead: &Worker,
        status: Option<i32>,
        code: u8,
    ) -> Phase {
        let pid = dead.pid;
        cx.report(Report::StoppedWorker { pid, status });
        cx.act(Action::PublishStatus);
        self.stopping(cx, code)
    }

    /// `Ended` follows if no worker is alive that has been told to leave, else `Stopping`.
    fn stopping(&self, cx: &mut Context<'_>, code: u8) -> Phase {
        if !self.workers.awaited().is_empty() {
            return Phase::Stopping { code };
        }
        let workers = self.workers.pids();
        if !workers.is_empty() {
            cx.report(Report::LeftBehind { workers });
        }
        cx.report(Report::Exiting);
        cx.act(Action::Exit(code));
        Phase::Ended
    }
}
