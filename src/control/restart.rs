//! `--restart`: HUP, then wait until the new generation has taken over.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Deadline;
use super::target::Target;
use crate::error::Error;
use crate::files::read_status;
use crate::machine::Generation;
use crate::units::{Seconds, Signal};

/// A request for a new generation.
#[derive(Debug, Clone)]
pub struct Restart {
    /// The supervisor's pid file.
    pub pid_file: PathBuf,
    /// The supervisor's status file.
    pub status_file: PathBuf,
    /// What to wait for.
    pub until: Until,
    /// How long to wait; none: as long as the supervisor lives.
    pub timeout: Option<Duration>,
}

/// What a restart waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// A newer generation is ready.
    Ready,
    /// A newer generation is ready and no other is left.
    #[default]
    Drained,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Until, String> {
        match text {
            "ready" => Ok(Until::Ready),
            "drained" => Ok(Until::Drained),
            _ => Err("'ready' or 'drained' is wanted".to_owned()),
        }
    }
}

/// How often the status file is looked at. It is replaced by renaming, and a look costs nothing.
const LOOK: Duration = Duration::from_millis(20);

/// Asks the supervisor for a new generation and returns when it has taken over.
///
/// A generation that fails to start on the way does not matter, as long as a later one starts.
///
/// # Errors
/// [`Error::NotRunning`] if there is no supervisor, or it ends meanwhile; [`Error::TimedOut`];
/// an unreadable pid or status file.
pub fn restart(request: &Restart) -> Result<(), Error> {
    let deadline = Deadline::after(request.timeout);
    let target = Target::find(&request.pid_file)?;
    let before = newest(&generations(request)?);
    target.signal(Signal::HUP)?;
    loop {
        let generations = match read_status(&request.status_file) {
            // Removed at the supervisor's end, which we are about to see.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|e| Error::file("status file", &request.status_file, e))?,
        };
        let replaced = newest(&generations) > before;
        let done = match request.until {
            Until::Ready => replaced,
            Until::Drained => replaced && generations.len() == 1,
        };
        if done {
            return Ok(());
        }
        let Some(patience) = deadline.slice(LOOK) else {
            return Err(timed_out(request, replaced));
        };
        if target.ends_within(patience) {
            return Err(target.gone());
        }
    }
}

/// What the status file says before the restart. It must be there: a mistyped name would mean to
/// wait for ever.
fn generations(request: &Restart) -> Result<Vec<Generation>, Error> {
    read_status(&request.status_file).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::NotDone(format!(
            "no status file {}: is it the --status-file of that supervisor? It is written when \
                 the first worker is ready",
            request.status_file.display()
        )),
        _ => Error::file("status file", &request.status_file, e),
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
