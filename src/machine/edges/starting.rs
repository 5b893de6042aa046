//! Starting a generation.

use super::{Todo, report};
use crate::machine::event::{Action, Report, Time};
use crate::machine::worker::{Stage, Worker};
use crate::machine::{Cause, Machine, Phase, SHORTEST_RETRY, Start};

impl Machine {
    /// HUP while nothing else is under way.
    pub(in crate::machine) fn reload(&mut self, now: Time, todo: &mut Todo) {
        report(todo, Report::Reloading);
        self.begin(Cause::Reload, now, now, todo);
    }

    /// HUP while a start is under way, too late for it.
    pub(in crate::machine) fn queue_reload(&mut self, todo: &mut Todo) {
        if !self.reload_wanted {
            self.reload_wanted = true;
            report(todo, Report::ReloadQueued);
        }
    }

    /// HUP before an attempt: that attempt answers it. It need not wait out a crash loop's pause,
    /// only keep its distance from the attempt before.
    pub(in crate::machine) fn hurry(&mut self, until: Time, now: Time, todo: &mut Todo) {
        if self.start.cause != Cause::First {
            self.start.cause = Cause::Reload;
        }
        // Once per attempt: the next spawn resets it.
        if !std::mem::replace(&mut self.reload_wanted, true) {
            report(todo, Report::Reloading);
        }
        let soonest = until.min(self.next_attempt().max(now));
        self.phase = Phase::Pausing { until: soonest };
        if soonest <= now {
            self.spawn(now, todo);
        }
    }

    /// The current worker has died before an attempt. Nobody is patient with that one any more; and
    /// as it is for a worker that is missed now, it has all its tries.
    pub(in crate::machine) fn missed(&mut self, until: Time, now: Time, todo: &mut Todo) {
        if self.workers.current().is_some() {
            return;
        }
        self.start.failures = 0;
        let soonest = self.start.attempt_at.saturating_add(SHORTEST_RETRY);
        let until = until.min(soonest.max(now));
        self.phase = Phase::Pausing { until };
        if until <= now {
            self.spawn(now, todo);
        }
    }

    /// The auto-restart interval may have passed. While an old worker lives it counts double.
    pub(in crate::machine) fn auto_restart(&mut self, now: Time, todo: &mut Todo) {
        let due = self.next_auto_restart().is_some_and(|at| at <= now);
        if let (true, Some(interval)) = (due, self.rules.tuning.auto_restart) {
            let forced = self.workers.any_old();
            report(todo, Report::AutoRestart { interval, forced });
            self.begin(Cause::Reload, now, now, todo);
        }
    }

    pub(in crate::machine) fn next_auto_restart(&self) -> Option<Time> {
        let interval = self.rules.tuning.auto_restart?;
        let factor = if self.workers.any_old() { 2 } else { 1 };
        Some(
            self.restart_base
                .saturating_add(interval.saturating_mul(factor)),
        )
    }

    /// The current worker has died and no start is under way.
    pub(in crate::machine) fn replace(
        &mut self,
        dead: Worker,
        status: i32,
        now: Time,
        todo: &mut Todo,
    ) {
        let since = match dead.stage {
            Stage::Ready { since } => since,
            Stage::Starting | Stage::Leaving | Stage::GivenUp => now,
        };
        let pause = self.crashes.pause_after_death(since, now);
        let Worker {
            generation, pid, ..
        } = dead;
        report(
            todo,
            Report::DiedUnexpectedly {
                generation,
                pid,
                status,
                pause,
            },
        );
        todo.push(Action::PublishStatus);
        // Its predecessors, if it died before they were signalled, serve on and are still to be
        // replaced.
        let cause = match self.workers.current() {
            Some(_) => Cause::Reload,
            None => Cause::Replacement,
        };
        self.begin(cause, now.saturating_add(pause), now, todo);
    }

    fn begin(&mut self, cause: Cause, at: Time, now: Time, todo: &mut Todo) {
        self.start.cause = cause;
        self.start.failures = 0;
        if at <= now {
            self.spawn(now, todo);
        } else {
            self.phase = Phase::Pausing { until: at };
        }
    }

    /// One attempt. Every HUP so far came before it, and is answered by it.
    pub(in crate::machine) fn spawn(&mut self, now: Time, todo: &mut Todo) {
        self.reload_wanted = false;
        self.last_generation += 1;
        self.start.attempt_at = now;
        self.phase = Phase::Spawning {
            generation: self.last_generation,
        };
        todo.push(Action::Spawn(self.last_generation));
    }

    /// When the attempt after the latest one may be made.
    pub(super) fn next_attempt(&self) -> Time {
        let Start { attempt_at, .. } = self.start;
        attempt_at.saturating_add(self.rules.interval.max(SHORTEST_RETRY))
    }
}
