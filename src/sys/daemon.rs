//! Leaving the terminal, the way daemon(7) describes it for the old school: fork, setsid, fork.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};

use super::reexec::FdSet;
use crate::error::why;
use nix::unistd::{ForkResult, fork, pipe2, setsid};

/// Which process this is, after [`detach`].
pub(crate) enum Side {
    /// The daemon, with a line to the process that was called.
    Daemon(Launcher),
    /// The process that was called; the daemon has told it how its start went.
    Caller(LaunchResult),
}

/// How the start went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LaunchResult {
    /// The caller's exit status.
    pub(crate) code: u8,
    /// What to tell its user; empty if that has been done.
    pub(crate) message: String,
}

/// The daemon's line to the process that was called, which waits for one result.
pub(crate) struct Launcher(File);

impl Launcher {
    /// For the next program in this process.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.0)
    }

    pub(crate) fn resume(fd: RawFd) -> io::Result<Launcher> {
        super::fd::adopt(fd).map(|fd| Launcher(fd.into()))
    }

    /// Lets the caller go. That it may be gone already does not matter.
    pub(crate) fn tell(mut self, code: u8, message: &str) {
        let mut bytes = vec![code];
        bytes.extend_from_slice(message.as_bytes());
        let _ = self.0.write_all(&bytes);
    }
}

/// Forks a daemon that belongs to no terminal. Must be called while there is one thread. The
/// caller's side returns when the daemon has said [`Launcher::tell`], or is gone. Their line lives
/// at descriptor `min_fd` or higher.
pub(crate) fn detach(min_fd: RawFd) -> io::Result<Side> {
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: we are single-threaded (the caller's promise), so the child may do anything.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        drop(write);
        return Ok(Side::Caller(wait_for_result(read)));
    }
    drop(read);
    let write = match super::fd::raise(write, min_fd) {
        Ok(write) => write,
        Err(_) => leave(), // the caller says that we have gone
    };
    let _ = setsid(); // fails only for a process group leader, which a fresh child is not
    // SAFETY: as above.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => Ok(Side::Daemon(Launcher(write.into()))),
        Ok(ForkResult::Parent { .. }) => leave(),
        Err(errno) => {
            let message = format!("start_server: failed to fork: {}", why(errno));
            Launcher(write.into()).tell(1, &message);
            leave()
        }
    }
}

/// Ends the process in the middle without a trace: nothing it holds is its own.
fn leave() -> ! {
    // SAFETY: ends the process; its destructors belong to the daemon.
    unsafe { libc::_exit(0) }
}

fn wait_for_result(from: OwnedFd) -> LaunchResult {
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
