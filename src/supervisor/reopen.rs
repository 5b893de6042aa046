//! What follows when a worker has shut a listening socket down.

use super::Supervisor;
use crate::machine::{Event, WorkerState};
use crate::sockets::{Outcome, ShutDown};
use crate::systemd::Store;

impl Supervisor {
    /// Opens the sockets again that have been shut down. Returns the exit status if the machine ends.
    pub(super) fn reopen_sockets(&mut self) -> Option<u8> {
        let mut replaced = false;
        for shut_down in self.reopener.reopen(&mut self.sockets) {
            self.log_shut_down(&shut_down);
            if shut_down.outcome == Outcome::Replaced {
                replaced = true;
                self.store_again(shut_down.index);
            }
        }
        // The workers of now wait for connections on the old socket.
        replaced
            .then(|| self.handle(Event::SocketReplaced))
            .flatten()
    }

    fn log_shut_down(&self, ShutDown { key, outcome, .. }: &ShutDown) {
        let (key, cause) = (key.to_string_lossy(), self.leaving());
        match outcome {
            Outcome::ListensAgain => tracing::warn!(
                "socket {key} was shut down by a worker, shutdown(2){cause}; it listens again"
            ),
            Outcome::Replaced => tracing::warn!(
                "socket {key} was shut down by a worker, shutdown(2){cause}; a new socket has its place, \
                 connections that were waiting are lost"
            ),
            Outcome::Lost(why) => tracing::error!(
                "socket {key} was shut down by a worker, shutdown(2){cause}, and is of no use any more: {why}"
            ),
        }
    }

    /// The generations that are told to leave, which are the ones to look at.
    fn leaving(&self) -> String {
        let workers = self.machine.workers();
        let leaving = workers.filter(|(_, _, state)| *state == WorkerState::Draining);
        let leaving: Vec<String> = leaving
            .map(|(generation, pid, _)| format!("generation {generation} (pid {pid})"))
            .collect();
        match leaving.is_empty() {
            true => String::new(),
            false => format!(" while {} was leaving", leaving.join(", ")),
        }
    }

    /// The fd store holds the old socket under this name.
    fn store_again(&self, index: usize) {
        let stored = self.sockets.stored(index);
        if let (Some((key, datagram, fd)), Some(store)) = (stored, Store::ours()) {
            store.replace(key, datagram, fd);
        }
    }
}
