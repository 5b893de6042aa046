//! The edges of the transition table in `mod.rs`: what happens on each, and which phase follows.

use super::event::{Action, Generation, Report, SpawnFailure, Time};
use super::worker::{Stage, Worker};
use super::{Cause, Machine, Phase, SHORTEST_RETRY, Start};
use crate::units::{Pid, Signal};

type Todo = Vec<Action>;

fn report(todo: &mut Todo, what: Report) {
    todo.push(Action::Report(what));
}

/// Starting a generation.
impl Machine {
    /// HUP while nothing else is under way.
    pub(super) fn reload(&mut self, now: Time, todo: &mut Todo) {
        report(todo, Report::Reloading);
        self.begin(Cause::Reload, now, now, todo);
    }

    /// HUP while a start is under way, too late for it.
    pub(super) fn queue_reload(&mut self, todo: &mut Todo) {
        if !self.reload_wanted {
            self.reload_wanted = true;
            report(todo, Report::ReloadQueued);
        }
    }

    /// HUP before an attempt: that attempt answers it. It need not wait out a crash loop's pause,
    /// only keep its distance from the attempt before.
    pub(super) fn hurry(&mut self, until: Time, now: Time, todo: &mut Todo) {
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

    /// The auto-restart interval may have passed. While an old worker lives it counts double.
    pub(super) fn auto_restart(&mut self, now: Time, todo: &mut Todo) {
        let due = self.next_auto_restart().is_some_and(|at| at <= now);
        if let (true, Some(interval)) = (due, self.rules.tuning.auto_restart) {
            let forced = self.workers.any_old();
            report(todo, Report::AutoRestart { interval, forced });
            self.begin(Cause::Reload, now, now, todo);
        }
    }

    pub(super) fn next_auto_restart(&self) -> Option<Time> {
        let interval = self.rules.tuning.auto_restart?;
        let factor = if self.workers.any_old() { 2 } else { 1 };
        Some(
            self.restart_base
                .saturating_add(interval.saturating_mul(factor)),
        )
    }

    /// The current worker has died and no start is under way.
    pub(super) fn replace(&mut self, dead: Worker, status: i32, now: Time, todo: &mut Todo) {
        let since = match dead.stage {
            Stage::Ready { since } => since,
            Stage::Starting | Stage::Leaving => now,
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
    pub(super) fn spawn(&mut self, now: Time, todo: &mut Todo) {
        self.reload_wanted = false;
        self.last_generation += 1;
        self.start.attempt_at = now;
        self.phase = Phase::Spawning {
            generation: self.last_generation,
        };
        todo.push(Action::Spawn(self.last_generation));
    }

    /// When the attempt after the latest one may be made.
    fn next_attempt(&self) -> Time {
        let Start { attempt_at, .. } = self.start;
        attempt_at.saturating_add(self.rules.interval.max(SHORTEST_RETRY))
    }
}

/// How an attempt ends.
impl Machine {
    pub(super) fn watch(&mut self, generation: Generation, pid: Pid, now: Time, todo: &mut Todo) {
        self.workers.add(generation, pid);
        report(todo, Report::Started { generation, pid });
        let ready_at = now.saturating_add(self.rules.interval);
        self.phase = Phase::Watching { pid, ready_at };
    }

    pub(super) fn not_spawned(
        &mut self,
        generation: Generation,
        why: SpawnFailure,
        now: Time,
        todo: &mut Todo,
    ) {
        report(todo, Report::NotSpawned { generation });
        if self.start.cause == Cause::First && why == SpawnFailure::Hopeless {
            return self.give_up_serving(now, todo);
        }
        self.attempt_failed(now, todo);
    }

    pub(super) fn failed_to_start(
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

    fn attempt_failed(&mut self, now: Time, todo: &mut Todo) {
        self.start.failures = self.start.failures.saturating_add(1);
        let attempts = self.start.failures;
        let limit = match self.start.cause {
            Cause::First => self.rules.first_start_attempts,
            Cause::Replacement | Cause::Reload => self.rules.start_attempts,
        };
        if limit == 0 || attempts < limit {
            self.phase = Phase::Pausing {
                until: self.next_attempt().max(now),
            };
            return;
        }
        let kept = self.workers.current().map(|w| w.generation);
        report(todo, Report::GaveUp { attempts, kept });
        match kept {
            Some(_) => {
                self.restart_base = now;
                self.serve(now, todo);
            }
            None => self.give_up_serving(now, todo),
        }
    }

    /// The new worker has lived long enough. If it takes over from others they are told so, now
    /// or after the kill-old-delay.
    pub(super) fn ready(&mut self, pid: Pid, now: Time, todo: &mut Todo) {
        let Some(worker) = self.workers.get_mut(pid) else {
            return;
        };
        worker.stage = Stage::Ready { since: now };
        let generation = worker.generation;
        self.restart_base = now;
        // First the file: whoever is told may look into it.
        todo.push(Action::PublishStatus);
        report(todo, Report::Ready { generation, pid });

        if self.start.cause != Cause::Reload {
            return self.serve(now, todo);
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
        let delay = self.rules.tuning.kill_old_delay;
        if nobody || delay.is_zero() {
            return self.kill_old(now, todo);
        }
        report(todo, Report::KillDelayed(delay));
        self.phase = Phase::Settling {
            kill_at: now.saturating_add(delay),
        };
    }

    /// The swap: everyone older than the current worker is told to leave.
    pub(super) fn kill_old(&mut self, now: Time, todo: &mut Todo) {
        report(todo, Report::KillingOld);
        let old = self
            .workers
            .current()
            .map(|w| self.workers.older_than(w.generation));
        for pid in old.unwrap_or_default() {
            self.tell_to_leave(pid, self.rules.signal_on_hup, now, todo);
        }
        self.serve(now, todo);
    }

    fn serve(&mut self, now: Time, todo: &mut Todo) {
        self.phase = Phase::Serving;
        report(todo, Report::Settled);
        if self.reload_wanted {
            self.reload(now, todo);
        }
    }

    /// Neither an old worker nor a new one serves, and no more attempts are made.
    fn give_up_serving(&mut self, now: Time, todo: &mut Todo) {
        self.stop_all(None, Signal::TERM, 1, now, todo);
    }
}

/// Ending workers, and ending altogether.
impl Machine {
    fn tell_to_leave(&mut self, pid: Pid, signal: Signal, now: Time, todo: &mut Todo) {
        self.workers
            .told_to_leave(pid, now, self.rules.stop_timeout);
        todo.push(Action::Signal(pid, signal));
    }

    pub(super) fn stop(&mut self, received: Signal, code: u8, now: Time, todo: &mut Todo) {
        let signal = if received == Signal::TERM {
            self.rules.signal_on_term
        } else {
            Signal::TERM
        };
        self.stop_all(Some(received), signal, code, now, todo);
    }

    fn stop_all(
        &mut self,
        received: Option<Signal>,
        signal: Signal,
        code: u8,
        now: Time,
        todo: &mut Todo,
    ) {
        self.phase = Phase::Stopping { code };
        let workers = self.workers.all();
        if received.is_some() || !workers.is_empty() {
            report(
                todo,
                Report::Stopping {
                    received,
                    signal,
                    workers: workers.clone(),
                },
            );
        }
        for pid in workers {
            self.tell_to_leave(pid, signal, now, todo);
        }
        self.end_if_alone(code, todo);
    }

    pub(super) fn stopped_worker(&mut self, dead: Worker, status: i32, code: u8, todo: &mut Todo) {
        report(
            todo,
            Report::StoppedWorker {
                pid: dead.pid,
                status,
            },
        );
        todo.push(Action::PublishStatus);
        self.end_if_alone(code, todo);
    }

    fn end_if_alone(&mut self, code: u8, todo: &mut Todo) {
        if self.workers.is_empty() {
            self.phase = Phase::Ended;
            report(todo, Report::Exiting);
            todo.push(Action::Exit(code));
        }
    }

    pub(super) fn old_died(
        &mut self,
        dead: Worker,
        was_current: bool,
        status: i32,
        todo: &mut Todo,
    ) {
        let Worker {
            generation, pid, ..
        } = dead;
        report(
            todo,
            Report::OldDied {
                was_current,
                generation,
                pid,
                status,
            },
        );
        todo.push(Action::PublishStatus);
    }

    pub(super) fn kill_overdue(&mut self, now: Time, todo: &mut Todo) {
        let Some(after) = self.rules.stop_timeout else {
            return;
        };
        for (generation, pid) in self.workers.take_overdue(now) {
            report(
                todo,
                Report::Overdue {
                    generation,
                    pid,
                    after,
                },
            );
            todo.push(Action::Signal(pid, Signal::KILL));
        }
    }
}
