//! `--stop`: the end of all workers, and then of the supervisor.

use std::time::Duration;

use serde_json::Map;

use super::client::{Client, Next};
use super::{ControlAddress, Deadline, LONG, announce_stop, pidfile, stop_timed_out};
use crate::error::Error;
use crate::sys::pidfd::PidFd;

/// A request to end.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Which supervisor.
    pub address: ControlAddress,
    /// How long to wait; `None` for no limit.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor to stop and returns when it, and so all its workers, have ended.
///
/// # Errors
/// [`Error::NotRunning`] if there is no supervisor; [`Error::TimedOut`]; a socket or a file that
/// cannot be used.
pub fn stop(request: &Stop) -> Result<(), Error> {
    let path = match &request.address {
        ControlAddress::Socket(path) => path,
        ControlAddress::Files { pid, .. } => return pidfile::stop(pid, request.timeout),
    };
    let deadline = Deadline::after(request.timeout);
    let mut client = Client::connect(path, deadline)?;
    let pid = client.supervisor();
    // Opened before the call: its pid cannot be recycled after that.
    let process = pid.and_then(|pid| PidFd::open(pid).ok());
    announce_stop(pid.unwrap_or_default());
    client.call("Stop", Map::new(), true)?;
    loop {
        let Some(timeout) = deadline.slice(LONG) else {
            return Err(stop_timed_out(request.timeout, pid.unwrap_or_default()));
        };
        match client.next(timeout)? {
            Next::Results(..) | Next::Nothing | Next::Failure(_) => {}
            // The connection has ended with the supervisor.
            Next::End => break,
        }
    }
    // The process ends a moment after its connections.
    if let Some(process) = process {
        while !process.ends_within(deadline.slice(LONG).unwrap_or_default()) {
            if deadline.slice(LONG).is_none() {
                return Err(stop_timed_out(request.timeout, pid.unwrap_or_default()));
            }
        }
    }
    Ok(())
}
