//! `--restart` and `--stop` of a supervisor without a control socket: by signals, and by its pid file and its
//! status file. The supervisor is held by a pidfd, so that no other process is ever signalled.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Deadline, LONG, Restart, announce_stop, stop_timed_out};
use crate::error::{DisplayIoError, Error};
use crate::files::{Holder, LockedPidFile, read_holder, read_status};
use crate::machine::{Generation, Until};
use crate::sys::pidfd::PidFd;
use crate::types::{Pid, Seconds, Signal};

/// How often the status file is read. It is small, and is replaced by renaming.
const READ_EVERY: Duration = Duration::from_millis(20);

/// Sends HUP, and waits until the status file names a new generation.
pub(super) fn restart(
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
            // The supervisor removes it at its end, which is noticed below.
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
        let Some(timeout) = deadline.slice(READ_EVERY) else {
            return Err(restart_timed_out(request, replaced));
        };
        if target.ends_within(timeout) {
            return Err(target.gone());
        }
    }
}

/// The generations in the status file before the restart. Without the file, which may be a mistyped name, the
/// wait would never end.
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

fn restart_timed_out(request: &Restart, replaced: bool) -> Error {
    let waited = Seconds(request.timeout.unwrap_or_default());
    Error::TimedOut(match replaced {
        true => format!("after {waited} s the new worker is ready, but old ones are still there"),
        false => format!(
            "after {waited} s no new worker is ready (the old ones serve on; the log says why, and \
             whether more attempts are made)"
        ),
    })
}

/// Sends TERM, and waits until the supervisor has ended.
pub(super) fn stop(pid_file: &Path, timeout: Option<Duration>) -> Result<(), Error> {
    let deadline = Deadline::after(timeout);
    let target = Target::find(pid_file)?;
    announce_stop(target.pid);
    target.signal(Signal::TERM)?;
    while let Some(timeout) = deadline.slice(LONG) {
        if target.ends_within(timeout) {
            return Ok(());
        }
    }
    Err(stop_timed_out(timeout, target.pid))
}

/// A running supervisor.
struct Target {
    pid: Pid,
    /// The user that it runs as.
    user: u32,
    process: PidFd,
}

impl Target {
    /// The supervisor that holds the lock of the pid file.
    fn find(pid_file: &Path) -> Result<Target, Error> {
        let (pid, file) = holder(pid_file)?;
        let process = PidFd::open(pid).map_err(|e| match e.raw_os_error() {
            Some(libc::ESRCH) => {
                let why = format!("locked, but there is no process {pid} (another container?)");
                not_running(pid_file, &why)
            }
            _ => Error::System {
                action: "take hold of the supervisor",
                source: e,
            },
        })?;
        // The process that the file names has to be the one that holds the lock: it has the file open, and is
        // still alive when that was seen.
        let user = fs::metadata(format!("/proc/{pid}")).map(|process| process.uid());
        let held = user.and_then(|user| Ok((file.is_held_by(pid, user)?, user)));
        let (held, user) = held.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => not_running(pid_file, "it has just ended"),
            io::ErrorKind::PermissionDenied => Error::NotDone(format!(
                "cannot look at the supervisor (pid:{pid}): this has to run as its user, or as root"
            )),
            _ => Error::NotDone(format!(
                "cannot look at process {pid}: {}",
                DisplayIoError(&e)
            )),
        })?;
        if !held || holder(pid_file)?.0 != pid {
            let why = format!("locked, but not by process {pid} (another container?)");
            return Err(not_running(pid_file, &why));
        }
        Ok(Target { pid, user, process })
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process
            .kill(signal)
            .map_err(|e| match e.raw_os_error() {
                Some(libc::ESRCH) => self.gone(),
                _ => Error::NotDone(format!(
                    "failed to send {signal} to the supervisor (pid:{}): {}",
                    self.pid,
                    DisplayIoError(&e)
                )),
            })
    }

    /// Waits for its end, for at most `timeout`. Returns whether it has ended.
    fn ends_within(&self, timeout: Duration) -> bool {
        self.process.ends_within(timeout)
    }

    fn gone(&self) -> Error {
        Error::NotRunning(format!(
            "the supervisor (pid:{}) has ended meanwhile",
            self.pid
        ))
    }
}

fn holder(pid_file: &Path) -> Result<(Pid, LockedPidFile), Error> {
    match read_holder(pid_file) {
        Ok(Holder::Supervisor(pid, file)) => Ok((pid, file)),
        Ok(Holder::Starting) => Err(not_running(pid_file, "it is still starting")),
        Ok(Holder::None) => Err(not_running(pid_file, "stale, no process holds its lock")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(not_running(pid_file, "no such file")),
        Err(e) => Err(Error::file("pid file", pid_file, e)),
    }
}

fn not_running(pid_file: &Path, why: &str) -> Error {
    Error::NotRunning(format!(
        "no supervisor is running with pid file {}: {why}",
        pid_file.display()
    ))
}
