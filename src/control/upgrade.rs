//! `--upgrade`: the supervisor becomes the program that has its name now.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::Deadline;
use super::client::{Client, Next};
use super::interface::{Failure, Upgraded};
use crate::error::Error;

/// A request to upgrade in place.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The supervisor's control socket.
    pub socket: PathBuf,
    /// How long to wait; none: as long as it takes.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor to upgrade itself and returns when it has.
///
/// # Errors
/// [`Error::NotDone`] if it refuses, and so is what it was; [`Error::NotRunning`];
/// [`Error::TimedOut`].
pub fn upgrade(request: &Upgrade) -> Result<(), Error> {
    let mut client = Client::connect(&request.socket)?;
    match client.ask("Upgrade", Deadline::after(request.timeout))? {
        Next::Results(results, _) => {
            let upgraded: Option<Upgraded> = serde_json::from_value(results).ok();
            let version = upgraded.map(|it| it.version).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "start_server {version} has taken over");
            Ok(())
        }
        Next::Failure(Failure::UpgradeFailed { reason }) => Err(Error::NotDone(format!(
            "not upgraded, and all is as it was: {reason}"
        ))),
        Next::Failure(_) => Err(Error::NotRunning(
            "the supervisor has been told to stop".to_owned(),
        )),
        Next::Nothing | Next::End => Err(client.gone()),
    }
}
