//! Listening sockets that a worker has shut down, or whose file is gone, are opened again.

use super::{Flow, Supervisor};
use crate::machine::{Event, WorkerState};
use crate::sockets::{ReopenCause, ReopenOutcome, Reopened};
use crate::systemd::Store;

impl Supervisor {
    /// Opens the sockets again that have been shut down or have lost their file.
    pub(super) fn reopen_sockets(&mut self) -> Flow {
        let reopened = self.reopener.reopen(&mut self.sockets);
        match self.note_reopened(reopened) {
            // Live workers wait for connections on the old socket.
            true => self.handle(Event::SocketReplaced),
            false => Flow::Continue(()),
        }
    }

    /// Tries those again whose file could not be made, before a generation starts that gets them.
    pub(super) fn retry_lost_sockets(&mut self) {
        let reopened = self.reopener.retry(&mut self.sockets);
        self.note_reopened(reopened);
    }

    /// Logs and stores reopened sockets. Returns whether some are new sockets.
    fn note_reopened(&mut self, reopened: Vec<Reopened>) -> bool {
        for reopened in &reopened {
            self.log_reopened(reopened);
            if reopened.outcome == ReopenOutcome::Replaced {
                self.store_again(reopened.index);
            }
        }
        reopened
            .iter()
            .any(|it| it.outcome == ReopenOutcome::Replaced)
    }

    fn log_reopened(
        &self,
        Reopened {
            key,
            cause,
            outcome,
            ..
        }: &Reopened,
    ) {
        let key = key.to_string_lossy();
        let what = match cause {
            ReopenCause::ShutDown => {
                format!("was shut down by a worker, shutdown(2){}", self.leaving())
            }
            ReopenCause::FileRemoved => "has lost its file".to_owned(),
        };
        match outcome {
            ReopenOutcome::ListensAgain => tracing::warn!("socket {key} {what}; it listens again"),
            ReopenOutcome::Replaced => {
                tracing::warn!("socket {key} {what}; a new socket has its place")
            }
            ReopenOutcome::Lost(why) => {
                tracing::error!("socket {key} {what} and cannot be opened again: {why}")
            }
        }
    }

    /// The generations that drain: one of them is likely to have done it.
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

    /// Replaces the socket in the fd store.
    fn store_again(&self, index: usize) {
        let stored = self.sockets.stored(index);
        if let (Some((key, datagram, fd)), Some(store)) = (stored, Store::ours()) {
            store.replace(key, datagram, fd);
        }
    }
}
