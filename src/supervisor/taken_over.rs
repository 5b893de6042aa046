//! Workers of a supervisor that was killed, from the start of this supervisor until they end.

use std::time::Duration;

use super::{Flow, Supervisor};
use crate::history::History;
use crate::machine::{Event, Machine, Rules, Time};
use crate::sys::clock::monotonic;
use crate::takeover::{Adopted, Orphan, TakeOver};
use crate::types::{Pid, Signal};

impl TakeOver {
    /// The age of the oldest worker; 0 if there is none.
    pub(super) fn oldest(&self) -> Duration {
        let ages = self.workers.iter().map(|worker| worker.age);
        // Ages count suspensions, and the monotonic clock does not: it may be younger.
        ages.max().unwrap_or_default().min(monotonic())
    }

    /// When a worker was started. Time 0 of the machine is the start of the oldest.
    fn started(&self, worker: &Orphan) -> Time {
        self.oldest().saturating_sub(worker.age)
    }

    pub(super) fn machine(&self, rules: Rules) -> Machine {
        let workers = self.workers.iter();
        let workers = workers.map(|worker| (worker.generation, worker.pid, self.started(worker)));
        Machine::new(rules).taking_over(workers, self.last_generation)
    }

    pub(super) fn history(&self) -> History {
        let mut history = History::new();
        for worker in &self.workers {
            history.adopt(worker.generation, self.started(worker));
        }
        history
    }

    pub(super) fn adopt(&mut self) -> Adopted {
        Adopted::new(std::mem::take(&mut self.workers))
    }
}

impl Supervisor {
    /// Lists the workers in the status file, and makes the files of their sockets ours. Must be called when
    /// the start cannot fail any more.
    pub(super) fn publish_taken_over(&mut self) {
        self.sockets.keep_taken_files(false);
        self.status_due = true;
        self.write_status_file();
    }

    /// Ends a first start that cannot go on. Adopted workers serve on; the worker that is starting has never
    /// served, and is killed.
    pub(super) fn abandon_start(&mut self) -> Flow {
        let workers = self.machine.workers().map(|(_, pid, _)| pid);
        let (adopted, own): (Vec<Pid>, Vec<Pid>) = workers.partition(|pid| self.adopted.has(*pid));
        if adopted.is_empty() {
            return self.handle(Event::Stop(Signal::TERM));
        }
        own.into_iter().for_each(|pid| self.kill(pid));
        Flow::Break(1)
    }

    /// Processes the ends of adopted workers.
    pub(super) fn adopted_ended(&mut self) -> Flow {
        while let Some(pid) = self.adopted.next_ended() {
            let generation = self.machine.generation_of(pid);
            let flow = self.handle(Event::AdoptedExited(pid));
            if let Some(generation) = generation {
                self.history.forget(generation);
            }
            flow?;
        }
        Flow::Continue(())
    }

    /// The end of an adopted worker whose pid a new process has got.
    pub(super) fn end_of_pid_owner(&mut self, spawned: &Event) -> Option<Event> {
        match spawned {
            Event::Spawned(pid) if self.adopted.remove(*pid) => Some(Event::AdoptedExited(*pid)),
            _ => None,
        }
    }

    /// If workers live on at the end of this supervisor, keeps the files by which the next supervisor finds
    /// them, and those of their sockets.
    pub(super) fn keep_files_of_live_workers(&mut self) {
        if self.machine.live().next().is_none() {
            return;
        }
        self.sockets.keep_taken_files(true);
        if let Some(file) = self.status_file.take() {
            file.leave();
        }
    }
}
