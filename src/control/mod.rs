//! Talking to a running supervisor: `--restart`, `--stop`, `--status` and `--upgrade`.
//!
//! Through its control socket, which speaks Varlink (<https://varlink.org>): `server/` is the supervisor's
//! side, the commands are the clients. Without a control socket, through its files: `pidfile.rs`.

mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod metrics;
mod pidfile;
pub(crate) mod protocol;
mod restart;
pub(crate) mod server;
mod spinner;
mod status;
mod stop;
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

use crate::error::Error;
use crate::types::{Pid, Seconds};

/// How to reach a supervisor.
#[derive(Debug, Clone)]
pub enum ControlAddress {
    /// Through its control socket.
    Socket(PathBuf),
    /// Through its files.
    Files {
        /// The pid file.
        pid: PathBuf,
        /// The status file. Only `--restart` needs it.
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

    /// The time left, at most `at_most`; `None` if the time is up.
    fn slice(self, at_most: Duration) -> Option<Duration> {
        let Some(end) = self.0 else {
            return Some(at_most);
        };
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left.min(at_most))
    }
}

/// The longest single wait of a command without a time-out.
const LONG: Duration = Duration::from_secs(3600);

/// Logs the line of Server::Starter.
fn announce_stop(supervisor: Pid) {
    let own = std::process::id();
    tracing::info!("stop_server (pid:{own}) stopping now (pid:{supervisor})...");
}

/// The error of a stop whose workers have not left in time.
fn stop_timed_out(timeout: Option<Duration>, supervisor: Pid) -> Error {
    let waited = Seconds(timeout.unwrap_or_default());
    Error::TimedOut(format!(
        "after {waited} s the supervisor (pid:{supervisor}) is still waiting for its workers"
    ))
}
