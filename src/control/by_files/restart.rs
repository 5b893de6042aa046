//! HUP, then wait until the status file says that a new generation has taken over.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::target::Target;
use crate::control::{Deadline, Restart};
use crate::error::Error;
use crate::files::read_status;
use crate::machine::{Generation, Until};
use crate::types::{Seconds, Signal};

/// How often the status file is looked at. It is replaced by renaming, and a look costs nothing.
const LOOK: Duration = Duration::from_millis(20);

pub(in crate::control) fn restart(
    pid_file: &Path,
    status_file: Option<&Path>,
    request: &Restart,
) -> Result<(), Error> {
    let usage = || Error::Usage("--restart needs --status-file to be set as well".to_owned());
    let status_file = status_file.ok_or_else(usage)?;
    let deadline = Deadline::after(request.timeout);
    let target = Target::find(pid_file)?;
    let before = newest(&generations(status_file, target.user)?);
    target.signal(Signal::HUP)?;
    loop {
        let generations = match read_status(status_file, target.user) {
            // Removed at the supervisor's end, which we are about to see.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|e| Error::file("status file", status_file, e))?,
        };
        let replaced = newest(&generations) > before;
        let done = match request.until {
            Until::Ready => replaced,
            Until::Drained => replaced && generations.len() == 1,
        };
        if done {
            return Ok(());
        }
        let Some(timeout) = deadline.slice(LOOK) else {
            return Err(timed_out(request, replaced));
        };
        if target.ends_within(timeout) {
            return Err(target.gone());
        }
    }
}

/// What the status file says before the restart. It must be there: a mistyped name would mean to
/// wait for ever.
fn generations(status_file: &Path, supervisor: u32) -> Result<Vec<Generation>, Error> {
    read_status(status_file, supervisor).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::NotDone(format!(
            "no status file {}: is it the --status-file of that supervisor? It is written when \
                 the first worker is ready",
            status_file.display()
        )),
        _ => Error::file("status file", status_file, e),
    })
}

fn newest(generations: &[Generation]) -> Generation {
    generations.last().copied().unwrap_or(0)
}

fn timed_out(request: &Restart, replaced: bool) -> Error {
    let waited = Seconds(request.timeout.unwrap_or_default());
    Error::TimedOut(match replaced {
        true => format!("after {waited} s the new worker is ready, but old ones are still there"),
        false => format!(
            "after {waited} s no new worker is ready (the old ones serve on; the log says why, and \
             whether more attempts are made)"
        ),
    })
}
