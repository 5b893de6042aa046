//! How a start begins: at once, after a pause, or with a check.

use std::time::Duration;

use crate::machine::SHORTEST_RETRY;
use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::{Time, Trigger};
use crate::machine::rules::Rules;
use crate::machine::state::{Cause, MachineState, Phase};

impl MachineState {
    /// A reload is wanted, and nothing is under way. `Checking` or `Spawning` follows.
    pub(in crate::machine) fn reload(&mut self, cx: &mut Context<'_>, by: Trigger) -> Phase {
        cx.report(Report::Reloading(by));
        self.begin_reload(cx)
    }

    /// A reload is wanted while a start is under way that cannot answer it any more.
    pub(in crate::machine) fn queue_reload(&mut self, cx: &mut Context<'_>, by: Trigger) {
        if self.reload_wanted.replace(by).is_none() {
            cx.report(Report::ReloadQueued(by));
        }
    }

    /// A reload is wanted before an attempt, which answers it. The attempt need not wait out the
    /// pause of a crash loop, but keeps its distance from the attempt before it. `WaitingToStart` or
    /// `Spawning` follows.
    pub(in crate::machine) fn expedite_retry(
        &mut self,
        cx: &mut Context<'_>,
        by: Trigger,
        until: Time,
    ) -> Phase {
        if !self.start.cause.is_first() {
            self.start.cause = Cause::Reload;
        }
        // Reported once per attempt: `spawn` resets it.
        if self.reload_wanted.replace(by).is_none() {
            cx.report(Report::Reloading(by));
        }
        let soonest = self.next_attempt(cx.rules).max(cx.now);
        self.spawn_at(cx, until.min(soonest))
    }

    /// The current worker has died before an attempt. If no other one serves, the attempt is made as
    /// soon as it may, and all attempts are left again. `WaitingToStart` or `Spawning` follows.
    pub(in crate::machine) fn retry_now(&mut self, cx: &mut Context<'_>, until: Time) -> Phase {
        if self.workers.current().is_some() {
            return Phase::WaitingToStart { until };
        }
        self.start.failures = 0;
        let soonest = self.start.attempt_at.saturating_add(SHORTEST_RETRY);
        self.spawn_at(cx, until.min(soonest.max(cx.now)))
    }

    /// The auto-restart interval has passed. `Checking` or `Spawning` follows.
    pub(in crate::machine) fn auto_restart(
        &mut self,
        cx: &mut Context<'_>,
        interval: Duration,
    ) -> Phase {
        let forced = self.workers.any_old();
        cx.report(Report::AutoRestart { interval, forced });
        self.begin_reload(cx)
    }

    /// The interval, if it has passed.
    pub(in crate::machine) fn auto_restart_due(&self, cx: &Context<'_>) -> Option<Duration> {
        let interval = cx.rules.live_settings.auto_restart?;
        let at = self.next_auto_restart(cx.rules)?;
        (at <= cx.now).then_some(interval)
    }

    /// `Checking` follows if the rules want a check, else `Spawning`.
    fn begin_reload(&mut self, cx: &mut Context<'_>) -> Phase {
        let Some(time) = cx.rules.check else {
            return self.begin(cx, Cause::Reload, cx.now);
        };
        self.start.cause = Cause::Reload;
        self.start.failures = 0;
        self.reload_wanted = None;
        self.requests.begin();
        cx.act(Action::Check(self.last_generation + 1));
        Phase::Checking {
            since: cx.now,
            until: cx.now.saturating_add(time),
        }
    }

    /// Begins a start whose first attempt is made at `at`. `WaitingToStart` or `Spawning` follows.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, cause: Cause, at: Time) -> Phase {
        self.start.cause = cause;
        self.start.failures = 0;
        self.spawn_at(cx, at)
    }

    /// `Spawning` follows if `at` has come, else `WaitingToStart`.
    fn spawn_at(&mut self, cx: &mut Context<'_>, at: Time) -> Phase {
        if at <= cx.now {
            self.spawn(cx)
        } else {
            Phase::WaitingToStart { until: at }
        }
    }

    /// Makes an attempt, which answers every reload that was wanted before it. `Spawning` follows.
    pub(in crate::machine) fn spawn(&mut self, cx: &mut Context<'_>) -> Phase {
        self.reload_wanted = None;
        self.requests.begin();
        self.last_generation += 1;
        self.start.attempt_at = cx.now;
        let generation = self.last_generation;
        cx.act(Action::Spawn(generation));
        Phase::Spawning { generation }
    }

    /// When the attempt after the latest one may be made.
    pub(super) fn next_attempt(&self, rules: &Rules) -> Time {
        let distance = rules.interval.max(SHORTEST_RETRY);
        self.start.attempt_at.saturating_add(distance)
    }
}
