//! Starting a generation.

use std::time::Duration;

use super::attempts::Outcome;
use super::{Todo, report};
use crate::machine::event::{Action, Report, Time, Trigger};
use crate::machine::worker::{Stage, Worker};
use crate::machine::{Cause, Machine, Phase, SHORTEST_RETRY, Start};

impl Machine {
    /// HUP while nothing else is under way.
    pub(in crate::machine) fn reload(&mut self, by: Trigger, now: Time, todo: &mut Todo) {
        report(todo, Report::Reloading(by));
        self.begin_reload(now, todo);
    }

    /// Checks first, if that is wanted.
    fn begin_reload(&mut self, now: Time, todo: &mut Todo) {
        let Some(time) = self.rules.check else {
            return self.begin(Cause::Reload, now, now, todo);
        };
        self.start.cause = Cause::Reload;
        self.start.failures = 0;
        self.reload_wanted = None;
        self.requests.begin();
        let until = now.saturating_add(time);
        self.phase = Phase::Checking { since: now, until };
        todo.push(Action::Check(self.last_generation + 1));
    }

    /// The check has found something wrong, or its time is up. No generation has been started.
    pub(in crate::machine) fn check_failed(
        &mut self,
        timed_out: Option<Duration>,
        now: Time,
        todo: &mut Todo,
    ) {
        if timed_out.is_some() {
            todo.push(Action::EndCheck);
        }
        let kept = self.workers.current().map(|w| w.generation);
        report(todo, Report::CheckFailed { timed_out, kept });
        self.restart_base = now;
        self.serve(Outcome::Kept(kept), now, todo);
    }

    /// HUP while a start is under way, too late for it.
    pub(in crate::machine) fn queue_reload(&mut self, by: Trigger, todo: &mut Todo) {
        if self.reload_wanted.replace(by).is_none() {
            report(todo, Report::ReloadQueued(by));
        }
    }

    /// HUP before an attempt: that attempt answers it. It need not wait out a crash loop's pause,
    /// only keep its distance from the attempt before.
    pub(in crate::machine) fn expedite_retry(
        &mut self,
        by: Trigger,
        until: Time,
        now: Time,
        todo: &mut Todo,
    ) {
        if self.start.cause != Cause::First {
            self.start.cause = Cause::Reload;
        }
        // Once per attempt: the next spawn resets it.
        if self.reload_wanted.replace(by).is_none() {
            report(todo, Report::Reloading(by));
        }
        let soonest = until.min(self.next_attempt().max(now));
        self.phase = Phase::WaitingToStart { until: soonest };
        if soonest <= now {
            self.spawn(now, todo);
        }
    }

    /// The current worker has died before an attempt. Nobody is patient with that one any more; and
    /// as it is for a worker that is missed now, it has all its tries.
    pub(in crate::machine) fn retry_now(&mut self, until: Time, now: Time, todo: &mut Todo) {
        if self.workers.current().is_some() {
            return;
        }
        self.start.failures = 0;
        let soonest = self.start.attempt_at.saturating_add(SHORTEST_RETRY);
        let until = until.min(soonest.max(now));
        self.phase = Phase::WaitingToStart { until };
        if until <= now {
            self.spawn(now, todo);
        }
    }

    /// The auto-restart interval may have passed. While an old worker lives it counts double.
    pub(in crate::machine) fn auto_restart(&mut self, now: Time, todo: &mut Todo) {
        let due = self.next_auto_restart().is_some_and(|at| at <= now);
        if let (true, Some(interval)) = (due, self.rules.live_settings.auto_restart) {
            let forced = self.workers.any_old();
            report(todo, Report::AutoRestart { interval, forced });
            self.begin_reload(now, todo);
        }
    }

    pub(in crate::machine) fn next_auto_restart(&self) -> Option<Time> {
        let interval = self.rules.live_settings.auto_restart?;
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
        let mut pause = self.crashes.pause_after_death(since, now);
        // As with a HUP that comes in the pause: who wants a new generation need not wait it out.
        if self.reload_wanted.is_some() || matches!(self.phase, Phase::Checking { .. }) {
            pause = pause.min(self.next_attempt().saturating_sub(now));
        }
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
            self.phase = Phase::WaitingToStart { until: at };
        }
    }

    /// One attempt. Every HUP so far came before it, and is answered by it.
    pub(in crate::machine) fn spawn(&mut self, now: Time, todo: &mut Todo) {
        self.reload_wanted = None;
        self.requests.begin();
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
