//! `--upgrade`: the supervisor makes way for its next release, and says whether it has.

use std::path::PathBuf;
use std::time::Duration;

use super::Deadline;
use super::client::{Client, Next};
use super::protocol::{Failure, Upgraded};
use crate::error::Error;

/// A request to upgrade the supervisor in place.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Its control socket.
    pub socket: PathBuf,
    /// How long to wait; `None` for no limit. An upgrade takes ten seconds at most.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor to make way for the file that it was started from, as that is now. Returns
/// what to tell people of it.
///
/// # Errors
/// [`Error::NotDone`] if it has refused, and goes on as before; [`Error::NotRunning`] if there is no
/// supervisor, or it ends meanwhile; [`Error::TimedOut`]; a socket that cannot be used.
pub fn upgrade(request: &Upgrade) -> Result<String, Error> {
    let deadline = Deadline::after(request.timeout);
    let mut client = Client::connect(&request.socket, deadline)?;
    let pid = client.supervisor().unwrap_or_default();
    let answer = client
        .ask("Upgrade", deadline)
        .map_err(|error| match error {
            Error::TimedOut(why) => Error::TimedOut(format!(
                "{why}; the upgrade may still come about (its log says)"
            )),
            error => error,
        })?;
    match answer {
        Next::Results(results, _) => {
            let upgraded = serde_json::from_value(results);
            let upgraded: Upgraded = upgraded.map_err(|e| Error::NotDone(e.to_string()))?;
            let Upgraded { from, to } = upgraded;
            Ok(format!("upgraded from {from} to {to} (pid:{pid})\n"))
        }
        Next::Failure(Failure::UpgradeFailed { reason }) => Err(Error::NotDone(format!(
            "upgrade refused, nothing has changed: {reason}"
        ))),
        Next::Failure(_) => Err(Error::NotRunning(
            "the supervisor has been told to stop".to_owned(),
        )),
        Next::Nothing | Next::End => Err(client.gone()),
    }
}
