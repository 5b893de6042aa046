//! Ending workers, and ending altogether.

use super::{Todo, report};
use crate::machine::event::{Action, Report, Time};
use crate::machine::worker::Worker;
use crate::machine::{Machine, Phase};
use crate::types::{Pid, Signal};

impl Machine {
    pub(super) fn terminate(&mut self, pid: Pid, signal: Signal, now: Time, todo: &mut Todo) {
        self.workers
            .told_to_leave(pid, now, self.rules.stop_timeout);
        todo.push(Action::Signal(pid, signal));
    }

    pub(in crate::machine) fn stop(
        &mut self,
        received: Signal,
        code: u8,
        now: Time,
        todo: &mut Todo,
    ) {
        let signal = if received == Signal::TERM {
            self.rules.signal_on_term
        } else {
            Signal::TERM
        };
        self.stop_all(Some(received), signal, code, now, todo);
    }

    pub(super) fn stop_all(
        &mut self,
        received: Option<Signal>,
        signal: Signal,
        code: u8,
        now: Time,
        todo: &mut Todo,
    ) {
        if let Phase::Checking { .. } = self.phase {
            todo.push(Action::EndCheck);
        }
        self.phase = Phase::Stopping { code };
        self.requests.stopped(todo);
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
            self.terminate(pid, signal, now, todo);
        }
        self.end_if_alone(code, todo);
    }

    pub(in crate::machine) fn stopped_worker(
        &mut self,
        dead: Worker,
        status: i32,
        code: u8,
        todo: &mut Todo,
    ) {
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

    /// A worker that was never ready, and so is in no list, has gone at last.
    pub(in crate::machine) fn given_up_died(&mut self, dead: Worker, status: i32, todo: &mut Todo) {
        let pid = dead.pid;
        report(todo, Report::StoppedWorker { pid, status });
    }

    fn end_if_alone(&mut self, code: u8, todo: &mut Todo) {
        if self.workers.is_empty() {
            self.phase = Phase::Ended;
            report(todo, Report::Exiting);
            todo.push(Action::Exit(code));
        }
    }

    pub(in crate::machine) fn old_died(
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

    pub(in crate::machine) fn kill_overdue(&mut self, now: Time, todo: &mut Todo) {
        for (generation, pid, after) in self.workers.take_overdue(now) {
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
