//! `--daemonize`: detaches from the terminal as daemon(7) describes for SysV daemons: fork, setsid, fork.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};

use super::reexec::FdSet;
use crate::error::why;
use nix::unistd::{ForkResult, fork, pipe2, setsid};

/// Which process this is, after [`detach`].
pub(crate) enum Side {
    /// The daemon, with the pipe to the process that was called.
    Daemon(Launcher),
    /// The process that was called, with the daemon's report.
    Caller(LaunchResult),
}

/// How the daemon's start went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LaunchResult {
    /// The caller's exit status.
    pub(crate) code: u8,
    /// The text that the caller prints; may be empty.
    pub(crate) message: String,
}

/// The daemon's pipe to the process that was called, which waits for one report.
pub(crate) struct Launcher(File);

impl Launcher {
    /// Keeps the pipe open for the next program in this process.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.0)
    }

    /// Adopts the pipe that the previous program in this process has saved.
    pub(crate) fn resume(fd: RawFd) -> io::Result<Launcher> {
        super::fd::adopt(fd).map(|fd| Launcher(fd.into()))
    }

    /// Ends the caller with this exit status, and with `message` on its standard error. Does nothing if
    /// the caller has ended.
    pub(crate) fn report(mut self, code: u8, message: &str) {
        let mut bytes = vec![code];
        bytes.extend_from_slice(message.as_bytes());
        let _ = self.0.write_all(&bytes);
    }
}

/// Forks a daemon without a controlling terminal. Must be called while there is one thread. In the caller
/// it returns when the daemon has called [`Launcher::report`] or has ended. The pipe between them is on
/// descriptor `min_fd` or higher.
pub(crate) fn detach(min_fd: RawFd) -> io::Result<Side> {
    let (read_end, write_end) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: there is one thread, as the caller has to ensure, so the child may do anything.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        drop(write_end);
        return Ok(Side::Caller(wait_for_report(read_end)));
    }
    drop(read_end);
    let launcher = match super::fd::move_above(write_end, min_fd) {
        Ok(write_end) => Launcher(write_end.into()),
        Err(_) => exit_intermediate(), // the caller reports that the supervisor has ended
    };
    let _ = setsid(); // fails only for a process group leader, which a new child is not
    // SAFETY: as above.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => Ok(Side::Daemon(launcher)),
        Ok(ForkResult::Parent { .. }) => exit_intermediate(),
        Err(errno) => {
            launcher.report(1, &format!("start_server: failed to fork: {}", why(errno)));
            exit_intermediate()
        }
    }
}

/// Ends the process between caller and daemon.
fn exit_intermediate() -> ! {
    // SAFETY: _exit(2) ends the process. Destructors are not run: what they would remove is the daemon's.
    unsafe { libc::_exit(0) }
}

fn wait_for_report(from: OwnedFd) -> LaunchResult {
    let mut bytes = Vec::new();
    let read = File::from(from).read_to_end(&mut bytes);
    match bytes.split_first() {
        Some((&code, message)) if read.is_ok() => LaunchResult {
            code,
            message: String::from_utf8_lossy(message).into_owned(),
        },
        _ => LaunchResult {
            code: 1,
            message: "start_server: the supervisor ended before its first worker was ready".into(),
        },
    }
}
