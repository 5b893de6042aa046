//! The supervisor behind a pid file, taken hold of so that no stranger is ever signalled.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::control::stop_common::ends_within;
use crate::error::{DisplayIoError, Error};
use crate::files::{Held, Holder, read_holder};
use crate::sys::pidfd::PidFd;
use crate::types::Pid;
use crate::types::Signal;

/// A running supervisor.
pub(super) struct Target {
    pub(super) pid: Pid,
    /// Whom it runs as.
    pub(super) user: u32,
    process: PidFd,
}

impl Target {
    /// The supervisor that holds the lock of the pid file.
    pub(super) fn find(pid_file: &Path) -> Result<Target, Error> {
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
        // The file says a pid and is locked, but by that process? Only what has it open can hold
        // its lock, and if it still lives when we have seen that, it is the one we hold.
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

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
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

    /// Waits for its end, but not longer than `timeout`; says whether it has ended.
    pub(super) fn ends_within(&self, timeout: Duration) -> bool {
        ends_within(&self.process, timeout)
    }

    pub(super) fn gone(&self) -> Error {
        Error::NotRunning(format!(
            "the supervisor (pid:{}) has ended meanwhile",
            self.pid
        ))
    }
}

fn holder(pid_file: &Path) -> Result<(Pid, Held), Error> {
    match read_holder(pid_file) {
        Ok(Holder::Supervisor(pid, file)) => Ok((pid, file)),
        Ok(Holder::Starting) => Err(not_running(pid_file, "it is still starting")),
        Ok(Holder::Nobody) => Err(not_running(pid_file, "stale, nobody holds its lock")),
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
