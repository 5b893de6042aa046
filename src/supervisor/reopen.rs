//! Listening sockets that a worker has shut down, or whose file is gone, are opened again.

use std::time::Duration;

use super::{Flow, Supervisor};
use crate::machine::{Event, WorkerState};
use crate::sockets::{ReopenCause, ReopenOutcome, Reopened};
use crate::systemd::Store;

/// The least time between two reloads that follow from a removed socket file.
const FILE_RELOAD_DISTANCE: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Opens the sockets again that have been shut down or have lost their file.
    pub(super) fn reopen_sockets(&mut self) -> Flow {
        let reopened = self.reopener.reopen(&mut self.sockets);
        let file_removed = |it: &Reopened| it.cause == ReopenCause::FileRemoved;
        let by_file = reopened.iter().all(file_removed);
        match self.note_reopened(reopened) {
            true if by_file && self.follows_too_soon() => {
                tracing::warn!(
                    "another generation was started for this a moment ago; the next reload's gets the socket"
                );
                Flow::Continue(())
            }
            // Live workers wait for connections on the old socket.
            true => self.handle(Event::SocketReplaced),
            false => Flow::Continue(()),
        }
    }

    /// Whether a generation was started for a removed file less than [`FILE_RELOAD_DISTANCE`] ago. A worker that
    /// removes the file when it leaves would otherwise cause one reload after the other.
    fn follows_too_soon(&mut self) -> bool {
        let now = self.now();
        let last = self
            .file_reload
            .filter(|last| *last + FILE_RELOAD_DISTANCE > now);
        if last.is_none() {
            self.file_reload = Some(now);
        }
        last.is_some()
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
