//! Signals as news to be read, signalfd(2), instead of handlers that interrupt.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal as Known, sigprocmask,
};

use super::reexec::FdSet;
use crate::types::Signal;

/// What the supervisor reads; everything else keeps its usual effect.
const HEARD: [Known; 7] = [
    Known::SIGHUP,
    Known::SIGTERM,
    Known::SIGINT,
    Known::SIGQUIT,
    Known::SIGCHLD,
    Known::SIGUSR1,
    Known::SIGUSR2,
];

/// The supervisor's signals. They stay blocked for the rest of the process's life: one that comes
/// in after the last was read must not kill it on its way out.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals and opens a descriptor, `min_fd` or higher, to read them from.
    pub(crate) fn hear(min_fd: RawFd) -> io::Result<Signals> {
        let heard: SigSet = HEARD.into_iter().collect();
        // Ignored by our parent, SIGCHLD would make the kernel reap children behind our back.
        // Handlers and ignoring do not matter for the others: a blocked signal is kept for us.
        set_disposition(Known::SIGCHLD, SigHandler::SigDfl)?;
        block(&heard)?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set outlives the call; -1 asks for a new descriptor.
        let fd = Errno::result(unsafe { libc::signalfd(-1, heard.as_ref(), flags) })?;
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        super::fd::raise(fd, min_fd).map(Signals)
    }

    /// For the next program in this process. The signals stay blocked, too.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.0)
    }

    /// Nothing new is opened: there may be no room, and no way back.
    pub(crate) fn resume(fd: RawFd) -> io::Result<Signals> {
        let signals = Signals(super::fd::adopt(fd)?);
        let heard: SigSet = HEARD.into_iter().collect();
        let _ = block(&heard); // this release may read more than the one before
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set outlives the call; the descriptor is ours.
        unsafe { libc::signalfd(signals.0.as_raw_fd(), heard.as_ref(), flags) };
        Ok(signals)
    }

    /// The next signal that has come in, if any.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        loop {
            match nix::unistd::read(&self.0, &mut info) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        let number = info.first_chunk().map(|first| u32::from_ne_bytes(*first))?;
        Signal::from_number(number as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a write to a file that may not grow any more (RLIMIT_FSIZE, setrlimit(2)) fail with EFBIG, instead
/// of killing this process with SIGXFSZ. Call before anything is written: standard error may be a file.
pub fn ignore_file_size_signal() {
    let _ = set_disposition(Known::SIGXFSZ, SigHandler::SigIgn); // it fails only under seccomp
}

fn set_disposition(signal: Known, handler: SigHandler) -> nix::Result<()> {
    debug_assert!(matches!(handler, SigHandler::SigDfl | SigHandler::SigIgn));
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither disposition runs code of this program.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// For process 1 of a container: keeps the signals for [`Signals::hear`]. The kernel drops what would
/// end such a process by default, pid_namespaces(7), and a stop that came early would be lost. Any
/// other process ends by them until it can do better.
pub(crate) fn hold_if_process_1() {
    if std::process::id() == 1 {
        let heard: SigSet = HEARD.into_iter().collect();
        let _ = block(&heard); // if it fails, so will the next
    }
}

/// Blocks signals, in a process of one thread. Not SigSet::thread_block, which takes pthread_sigmask(3)
/// to fail as others do, with -1, and so does not see it fail.
fn block(signals: &SigSet) -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(signals), None)
}
