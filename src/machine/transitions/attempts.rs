//! How an attempt ends.

use super::notifications::LAST_GRACE;
use super::{Todo, report};
use crate::machine::event::{Action, Generation, Readiness, Report, SpawnFailure, Time};
use crate::machine::worker::{Stage, Worker};
use crate::machine::{Cause, Machine, Phase};
use crate::types::Pid;

/// How a start ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// This generation serves now.
    TakenOver(Generation),
    /// It was given up, and this one serves on.
    Kept(Option<Generation>),
}

impl Machine {
    pub(in crate::machine) fn watch(
        &mut self,
        generation: Generation,
        pid: Pid,
        now: Time,
        todo: &mut Todo,
    ) {
        self.workers.add(generation, pid);
        report(todo, Report::Started { generation, pid });
        let wait = match self.rules.readiness {
            Readiness::Auto | Readiness::Alive => self.rules.interval,
            Readiness::Notify => self.rules.start_timeout,
        };
        let until = now.saturating_add(wait);
        self.phase = Phase::Starting {
            pid,
            since: now,
            until,
        };
    }

    pub(in crate::machine) fn not_spawned(
        &mut self,
        generation: Generation,
        why: SpawnFailure,
        now: Time,
        todo: &mut Todo,
    ) {
        report(todo, Report::NotSpawned { generation });
        if self.start.cause == Cause::First && why == SpawnFailure::Permanent {
            return self.give_up_serving(now, todo);
        }
        self.attempt_failed(now, todo);
    }

    pub(in crate::machine) fn failed_to_start(
        &mut self,
        dead: Worker,
        status: i32,
        now: Time,
        todo: &mut Todo,
    ) {
        let Worker {
            generation, pid, ..
        } = dead;
        report(
            todo,
            Report::FailedToStart {
                generation,
                pid,
                status,
            },
        );
        self.attempt_failed(now, todo);
    }

    pub(super) fn attempt_failed(&mut self, now: Time, todo: &mut Todo) {
        self.start.failures = self.start.failures.saturating_add(1);
        let attempts = self.start.failures;
        let limit = match self.start.cause {
            Cause::First => self.rules.first_start_attempts,
            Cause::Replacement | Cause::Reload => self.rules.start_attempts,
        };
        if limit == 0 || attempts < limit {
            self.phase = Phase::WaitingToStart {
                until: self.next_attempt().max(now),
            };
            return;
        }
        let kept = self.workers.current().map(|w| w.generation);
        // While old ones drain we are here anyway, and may as well go on trying.
        if kept.is_none() && self.workers.any_leaving() {
            self.phase = Phase::WaitingToStart {
                until: self.next_attempt().max(now),
            };
            return;
        }
        report(todo, Report::GaveUp { attempts, kept });
        match kept {
            Some(_) => {
                self.restart_base = now;
                self.serve(Outcome::Kept(kept), now, todo);
            }
            None => self.give_up_serving(now, todo),
        }
    }

    /// The new worker counts as started. If it takes over from others they are told so, now
    /// or after the kill-old-delay.
    pub(in crate::machine) fn ready(&mut self, pid: Pid, now: Time, todo: &mut Todo) {
        let Some(worker) = self.workers.get_mut(pid) else {
            return;
        };
        worker.stage = Stage::Ready { since: now };
        worker.ping_by = self
            .rules
            .worker_watchdog
            .map(|every| now.saturating_add(every));
        let generation = worker.generation;
        self.restart_base = now;
        // First the file: whoever is told may look into it.
        todo.push(Action::PublishStatus);
        report(todo, Report::Ready { generation, pid });

        if self.start.cause != Cause::Reload {
            return self.serve(Outcome::TakenOver(generation), now, todo);
        }
        let old = self.workers.older_than(generation);
        let nobody = old.is_empty();
        report(
            todo,
            Report::Replacing {
                signal: self.rules.signal_on_hup,
                old,
            },
        );
        let delay = self.rules.live_settings.kill_old_delay;
        if nobody || delay.is_zero() {
            return self.kill_old(now, todo);
        }
        report(todo, Report::KillDelayed(delay));
        self.phase = Phase::KillOldDelay {
            kill_at: now.saturating_add(delay),
        };
    }

    /// The kill-old-delay is over.
    pub(in crate::machine) fn settle(&mut self, now: Time, todo: &mut Todo) {
        // A new worker that is stuck will be dead soon, and then the old ones have to stay.
        if self.workers.current().is_some_and(|w| w.stuck) {
            self.phase = Phase::KillOldDelay {
                kill_at: now.saturating_add(LAST_GRACE),
            };
            return;
        }
        self.kill_old(now, todo);
    }

    /// The swap: everyone older than the current worker is told to leave.
    fn kill_old(&mut self, now: Time, todo: &mut Todo) {
        report(todo, Report::KillingOld);
        let newest = self.workers.current().map_or(0, |w| w.generation);
        let (timeout, signal) = (self.rules.stop_timeout, self.rules.signal_on_hup);
        for (pid, stage) in self.workers.tell_older(newest, now, timeout) {
            if let Stage::Ready { since } = stage {
                self.crashes.served(since, now);
            }
            todo.push(Action::Signal(pid, signal));
        }
        self.serve(Outcome::TakenOver(newest), now, todo);
    }

    /// Nothing is under way any more.
    pub(super) fn serve(&mut self, outcome: Outcome, now: Time, todo: &mut Todo) {
        self.phase = Phase::Serving;
        report(todo, Report::Settled);
        match outcome {
            Outcome::TakenOver(generation) => {
                self.requests.replaced(generation, todo);
                self.answer_the_drained(todo);
            }
            Outcome::Kept(kept) => self.requests.failed(kept, todo),
        }
        if let Some(by) = self.reload_wanted {
            self.reload(by, now, todo);
        }
    }

    /// Who waits for old workers to go may have waited for the last of them.
    pub(in crate::machine) fn answer_the_drained(&mut self, todo: &mut Todo) {
        let oldest = self.live().next();
        let oldest = oldest.map_or(Generation::MAX, |(generation, _)| generation);
        self.requests.oldest_is(oldest, todo);
    }

    /// Neither an old worker nor a new one serves, and no more attempts are made.
    fn give_up_serving(&mut self, now: Time, todo: &mut Todo) {
        self.requests.failed(None, todo);
        self.stop_all(None, self.rules.signal_on_term, 1, now, todo);
    }
}
