//! What is being waited for: on a terminal a line that changes, elsewhere only the lines that stay.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::LONG;

/// Standard error.
pub(super) struct Spinner {
    is_terminal: bool,
    frame: usize,
    drawn: bool,
}

/// How long one picture of it stands.
const FRAME: Duration = Duration::from_millis(100);

const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

impl Spinner {
    pub(super) fn new() -> Spinner {
        Spinner {
            is_terminal: io::stderr().is_terminal(),
            frame: 0,
            drawn: false,
        }
    }

    /// How often to draw: off a terminal there is nothing to be drawn.
    pub(super) fn frame_time(&self) -> Duration {
        if self.is_terminal { FRAME } else { LONG }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.clear();
        put(&format!("{}\n", printable(text)));
    }

    /// The line that changes.
    pub(super) fn draw(&mut self, text: &str) {
        if !self.is_terminal {
            return;
        }
        let frame = FRAMES.iter().cycle().nth(self.frame % FRAMES.len());
        self.frame += 1;
        self.drawn = true;
        // Cut by the terminal where it ends, not wrapped: ?7 of DEC's private modes.
        let (frame, text) = (frame.unwrap_or(&'*'), printable(text));
        put(&format!("\r\x1b[K\x1b[?7l{frame} {text}\x1b[?7h"));
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            put("\r\x1b[K");
        }
    }
}

/// Some of it has been said by workers.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn put(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush()); // a terminal that is gone shows nothing
}
