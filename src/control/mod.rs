//! Talking to a running supervisor: `--restart`, `--stop`, `--status` and `--upgrade`.
//!
//! By its control socket, which speaks Varlink (<https://varlink.org>): `server/` is the supervisor's
//! end of it, the commands are the other. Or, without one, by its files: `by_files/`.

mod by_files;
mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod metrics;
pub(crate) mod protocol;
mod restart;
pub(crate) mod server;
mod spinner;
mod status;
mod stop;
mod stop_common;
mod upgrade;
mod varlink;

pub use crate::machine::Until;
pub use restart::{Restart, restart};
pub(crate) use server::{SavedServer, Server};
pub use status::{Format, Status, status};
pub use stop::{Stop, stop};
pub use upgrade::{Upgrade, upgrade};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a supervisor can be talked to.
#[derive(Debug, Clone)]
pub enum Address {
    /// By its control socket.
    Socket(PathBuf),
    /// By its files.
    Files {
        /// The pid file.
        pid: PathBuf,
        /// The status file; only a restart needs it.
        status: Option<PathBuf>,
    },
}

/// When a command's timeout ends.
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

/// One wait, when there is no other bound.
const LONG: Duration = Duration::from_secs(3600);
