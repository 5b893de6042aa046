//! An attempt to start a generation, from its process to the takeover or to its failure.

use std::time::Duration;

use super::timeouts::LAST_GRACE;
use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::{Generation, SpawnFailure};
use crate::machine::rules::Readiness;
use crate::machine::state::{Cause, MachineState, Phase};
use crate::machine::workers::{Worker, WorkerState};
use crate::types::Pid;

impl MachineState {
    /// The new worker exists. `Starting` follows.
    pub(in crate::machine) fn spawned(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        pid: Pid,
    ) -> Phase {
        self.workers.add(generation, pid);
        cx.report(Report::Started { generation, pid });
        let time = match cx.rules.readiness {
            Readiness::Auto | Readiness::Alive => cx.rules.interval,
            Readiness::Notify => cx.rules.start_timeout,
        };
        Phase::Starting {
            generation,
            since: cx.now,
            until: cx.now.saturating_add(time),
        }
    }

    /// There is no new process. `Ended` follows if the first start cannot succeed; otherwise see
    /// [`attempt_failed`](MachineState::attempt_failed).
    pub(in crate::machine) fn spawn_failed(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        why: SpawnFailure,
    ) -> Phase {
        cx.report(Report::NotSpawned { generation });
        if self.start.cause.is_first() && why == SpawnFailure::Permanent {
            return self.give_up(cx);
        }
        self.attempt_failed(cx)
    }

    /// The new worker died before it was ready. See [`attempt_failed`](MachineState::attempt_failed)
    /// for what follows.
    pub(in crate::machine) fn new_died(
        &mut self,
        cx: &mut Context<'_>,
        dead: &Worker,
        status: Option<i32>,
    ) -> Phase {
        cx.report(Report::FailedToStart {
            generation: dead.generation,
            pid: dead.pid,
            status,
        });
        self.attempt_failed(cx)
    }

    /// The new worker's time is up: it counts as ready now, or should have said that it is. See
    /// [`ready`](MachineState::ready) and [`attempt_failed`](MachineState::attempt_failed) for what
    /// follows.
    pub(in crate::machine) fn start_time_over(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        after: Duration,
    ) -> Phase {
        match cx.rules.readiness {
            Readiness::Auto | Readiness::Alive => self.ready(cx, generation),
            Readiness::Notify => {
                self.give_up_worker(cx, generation, after);
                self.attempt_failed(cx)
            }
        }
    }

    /// Tells a worker to leave that was not ready in time.
    fn give_up_worker(&mut self, cx: &mut Context<'_>, generation: Generation, after: Duration) {
        let Some(worker) = self.workers.of_generation(generation) else {
            return;
        };
        worker.state = WorkerState::GivenUp;
        worker.told = Some(cx.rules.signal_on_term);
        let pid = worker.pid;
        self.schedule_kill(cx, pid);
        cx.report(Report::NeverReady {
            generation,
            pid,
            after,
        });
        cx.signal(pid, cx.rules.signal_on_term);
    }

    /// `WaitingToStart` follows if another attempt is made. Otherwise the start is given up: if a
    /// worker serves, `Serving` follows, or the start of the next reload if one is wanted; else, or if
    /// only adopted workers serve, `Stopping` follows, or `Ended` if no other worker is alive.
    fn attempt_failed(&mut self, cx: &mut Context<'_>) -> Phase {
        self.start.failures = self.start.failures.saturating_add(1);
        let attempts = self.start.failures;
        let limit = match self.start.cause {
            Cause::First | Cause::Takeover => cx.rules.first_start_attempts,
            Cause::Replacement | Cause::Reload => cx.rules.start_attempts,
        };
        let kept = self.workers.current().map(|w| w.generation);
        // The supervisor lives on for as long as old workers drain. Until then more attempts cost
        // nothing.
        let waits_for_old = kept.is_none() && self.workers.any_draining();
        if limit == 0 || attempts < limit || waits_for_old {
            let until = self.next_attempt(cx.rules).max(cx.now);
            return Phase::WaitingToStart { until };
        }
        cx.report(Report::GaveUp { attempts, kept });
        match kept {
            Some(_) if !self.start.cause.is_first() => self.give_up_reload(cx, kept),
            _ => self.give_up(cx),
        }
    }

    /// The new worker counts as started. If it takes over from older ones, these are told to leave,
    /// now or after the kill-old-delay, `KillOldDelay`. Otherwise `Serving` follows, or the start of
    /// the next reload if one is wanted.
    pub(in crate::machine) fn ready(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
    ) -> Phase {
        if let Some(worker) = self.workers.of_generation(generation) {
            worker.ready(cx.now, cx.rules.worker_watchdog);
            let pid = worker.pid;
            // The status file comes first: readers of the report may look into it.
            cx.act(Action::PublishStatus);
            cx.report(Report::Ready { generation, pid });
        }
        self.restart_base = cx.now;
        if let Cause::First | Cause::Replacement = self.start.cause {
            return self.succeed(cx, generation);
        }
        // A draining worker has been told, and is left alone: to many servers a second signal means "at once".
        let old = self.workers.untold_before(generation);
        let none_is_old = old.is_empty();
        cx.report(Report::Replacing {
            signal: cx.rules.signal_on_hup,
            old,
        });
        let delay = cx.rules.live_settings.kill_old_delay;
        if none_is_old || delay.is_zero() {
            return self.kill_old(cx);
        }
        cx.report(Report::KillDelayed(delay));
        Phase::KillOldDelay {
            kill_at: cx.now.saturating_add(delay),
        }
    }

    /// The kill-old-delay is over. `Serving` follows, or the start of the next reload if one is
    /// wanted; `KillOldDelay` again if the new worker is stuck.
    pub(in crate::machine) fn kill_old_delay_over(&mut self, cx: &mut Context<'_>) -> Phase {
        // A stuck worker will be dead soon, and then the old ones have to stay.
        if self.workers.current().is_some_and(|w| w.stuck) {
            return Phase::KillOldDelay {
                kill_at: cx.now.saturating_add(LAST_GRACE),
            };
        }
        self.kill_old(cx)
    }

    /// The takeover: all workers older than the current one have been told to leave, or are told now. `Serving` follows, or
    /// the start of the next reload if one is wanted.
    fn kill_old(&mut self, cx: &mut Context<'_>) -> Phase {
        cx.report(Report::KillingOld);
        let newest = self.workers.current().map_or(0, |w| w.generation);
        for pid in self.workers.untold_before(newest) {
            let ready_since = self.workers.get_mut(pid).and_then(|w| w.ready_since);
            if let Some(ready_since) = ready_since {
                self.crashes.served(ready_since, cx.now);
            }
            self.terminate(cx, pid, cx.rules.signal_on_hup);
        }
        self.succeed(cx, newest)
    }
}
