//! `--stop`: the end of all workers, and then of the supervisor.

use std::time::Duration;

use serde_json::Map;

use super::client::{Client, Next};
use super::stop_common::{announce, ends_within, timed_out};
use super::{Address, Deadline, LONG, by_files};
use crate::error::Error;
use crate::sys::pidfd::PidFd;

/// A request to end.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Which supervisor.
    pub address: Address,
    /// How long to wait; none: as long as it takes.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor to stop and returns when it, and so all its workers, have ended.
///
/// # Errors
/// [`Error::NotRunning`] if there is no supervisor; [`Error::TimedOut`]; a socket or a file that
/// cannot be used.
pub fn stop(request: &Stop) -> Result<(), Error> {
    let path = match &request.address {
        Address::Socket(path) => path,
        Address::Files { pid, .. } => return by_files::stop(pid, request.timeout),
    };
    let deadline = Deadline::after(request.timeout);
    let mut client = Client::connect(path, deadline)?;
    let pid = client.supervisor();
    // Held before it is asked: nobody else can have the number then.
    let process = pid.and_then(|pid| PidFd::open(pid).ok());
    announce(pid.unwrap_or_default());
    client.call("Stop", Map::new(), true)?;
    loop {
        let Some(timeout) = deadline.slice(LONG) else {
            return Err(timed_out(request.timeout, pid.unwrap_or_default()));
        };
        match client.next(timeout)? {
            Next::Results(..) | Next::Nothing | Next::Failure(_) => {}
            // A supervisor that is gone cannot be called again, and that is what was asked for.
            Next::End => break,
        }
    }
    // The last moments of the process itself.
    if let Some(process) = process {
        while !ends_within(&process, deadline.slice(LONG).unwrap_or_default()) {
            if deadline.slice(LONG).is_none() {
                return Err(timed_out(request.timeout, pid.unwrap_or_default()));
            }
        }
    }
    Ok(())
}
