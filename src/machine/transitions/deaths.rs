//! Deaths of workers, except during their start or a stop.

use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::Generation;
use crate::machine::state::{Cause, MachineState, Phase};
use crate::machine::workers::Worker;

impl MachineState {
    /// The current worker died, and no start is under way that would replace it. `WaitingToStart` or
    /// `Spawning` follows.
    ///
    /// If a reload was wanted, `expedited`, the replacement need not wait out the pause of a crash
    /// loop.
    pub(in crate::machine) fn replace(
        &mut self,
        cx: &mut Context<'_>,
        dead: &Worker,
        status: Option<i32>,
        expedited: bool,
    ) -> Phase {
        let ready_since = dead.ready_since.unwrap_or(cx.now);
        let mut pause = self.crashes.pause_after_death(ready_since, cx.now);
        if expedited {
            pause = pause.min(self.next_attempt(cx.rules).saturating_sub(cx.now));
        }
        cx.report(Report::DiedUnexpectedly {
            generation: dead.generation,
            pid: dead.pid,
            status,
            pause,
        });
        cx.act(Action::PublishStatus);
        // A predecessor that has not been told to leave serves on, and is still to be replaced.
        let cause = match self.workers.current() {
            Some(_) => Cause::Reload,
            None => Cause::Replacement,
        };
        self.begin(cx, cause, cx.now.saturating_add(pause))
    }

    /// A worker died that was draining, or whose replacement is being started.
    pub(in crate::machine) fn old_died(
        &mut self,
        cx: &mut Context<'_>,
        dead: &Worker,
        status: Option<i32>,
        was_current: bool,
    ) {
        cx.report(Report::OldDied {
            was_current,
            generation: dead.generation,
            pid: dead.pid,
            status,
        });
        cx.act(Action::PublishStatus);
    }

    /// A worker died that was never ready, and so is not in the status file.
    pub(in crate::machine) fn given_up_died(
        &mut self,
        cx: &mut Context<'_>,
        dead: &Worker,
        status: Option<i32>,
    ) {
        let pid = dead.pid;
        cx.report(Report::StoppedWorker { pid, status });
    }

    /// Answers the requests that wait for the death of old workers, if the last of these is dead.
    pub(in crate::machine) fn answer_drained(&mut self, cx: &mut Context<'_>) {
        let oldest = self.live().next();
        let oldest = oldest.map_or(Generation::MAX, |(generation, _)| generation);
        self.requests.oldest_is(cx, oldest);
    }
}
