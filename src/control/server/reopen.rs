//! Making the control socket again when something else has removed its file: another unit with the same
//! `RuntimeDirectory=` that stops, or a cleaner. Clients that are connected stay so.

use std::time::Duration;

use super::{Server, listen};
use crate::machine::Time;

/// The pause after the first failed attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When the next attempt is made.
pub(super) struct Retry {
    pub(super) at: Time,
    pause: Duration,
}

impl Server {
    /// Makes the socket again if its file is gone. Without a directory for it this fails, and is tried
    /// again with growing pauses.
    pub(crate) fn check_file(&mut self, now: Time) {
        if self.file.is_there() {
            self.retry = None;
            return;
        }
        let path = self.file.as_path().to_owned();
        match listen(&path, self.min_fd) {
            Ok((listener, file)) => {
                tracing::warn!(
                    "the control socket {} was removed; made again",
                    path.display()
                );
                self.listener = listener;
                self.file = file;
                self.retry = None;
                self.watch_file();
            }
            Err(e) => {
                let pause = match &self.retry {
                    Some(retry) => retry.pause.saturating_mul(2).min(LONGEST_PAUSE),
                    None => {
                        tracing::error!(
                            "the control socket {} was removed: {e}; trying again",
                            path.display()
                        );
                        FIRST_PAUSE
                    }
                };
                let at = now.saturating_add(pause);
                self.retry = Some(Retry { at, pause });
            }
        }
    }

    /// Checks the file if it was touched, or if an attempt is due.
    pub(super) fn notice_removal(&mut self, readable: bool, now: Time) {
        let touched = |watch: &crate::files::RemovalWatch| !watch.touched().is_empty();
        let touched = readable && self.removal.as_ref().is_some_and(touched);
        if touched || self.retry.as_ref().is_some_and(|retry| retry.at <= now) {
            self.check_file(now);
        }
    }

    pub(super) fn watch_file(&mut self) {
        if let Some(watch) = &mut self.removal {
            watch.watch(0, self.file.as_path());
        }
    }
}
