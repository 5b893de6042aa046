//! Talking to a running supervisor: `--restart` and `--stop`, by way of its files.

mod restart;
mod stop;
mod target;

pub use restart::{Restart, Until, restart};
pub use stop::{Stop, stop};

use std::time::{Duration, Instant};

/// When a command's patience ends.
#[derive(Debug, Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Option<Duration>) -> Deadline {
        Deadline(timeout.and_then(|t| Instant::now().checked_add(t)))
    }

    /// What is left of `at_most`; none: the time is up.
    fn slice(self, at_most: Duration) -> Option<Duration> {
        let Some(end) = self.0 else {
            return Some(at_most);
        };
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left.min(at_most))
    }
}
