//! `--stop`: TERM, then wait until the supervisor has ended.

use std::path::PathBuf;
use std::time::Duration;

use super::Deadline;
use super::target::Target;
use crate::error::Error;
use crate::units::{Seconds, Signal};

/// A request to end.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The supervisor's pid file.
    pub pid_file: PathBuf,
    /// How long to wait; none: as long as it takes.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor to stop and returns when it, and so all its workers, have ended.
///
/// # Errors
/// [`Error::NotRunning`] if there is no supervisor; [`Error::TimedOut`]; an unreadable pid file.
pub fn stop(request: &Stop) -> Result<(), Error> {
    let deadline = Deadline::after(request.timeout);
    let target = Target::find(&request.pid_file)?;
    tracing::info!(
        "stop_server (pid:{}) stopping now (pid:{})...",
        std::process::id(),
        target.pid
    );
    target.signal(Signal::TERM)?;
    while let Some(patience) = deadline.slice(LONG) {
        if target.ends_within(patience) {
            return Ok(());
        }
    }
    let waited = Seconds(request.timeout.unwrap_or_default());
    Err(Error::TimedOut(format!(
        "after {waited} s the supervisor (pid:{}) is still waiting for its workers",
        target.pid
    )))
}

/// One wait, when there is no other bound.
const LONG: Duration = Duration::from_secs(3600);
