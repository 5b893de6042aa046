//! Signals that are read from a descriptor, signalfd(2), and not delivered to handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal as NixSignal, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::reexec::FdSet;
use crate::types::Signal;

/// The signals that the supervisor reads. All others keep their dispositions.
const READ: [NixSignal; 7] = [
    NixSignal::SIGHUP,
    NixSignal::SIGTERM,
    NixSignal::SIGINT,
    NixSignal::SIGQUIT,
    NixSignal::SIGCHLD,
    NixSignal::SIGUSR1,
    NixSignal::SIGUSR2,
];

/// The supervisor's signals. They stay blocked until the process ends: a signal that arrives after the last
/// read must not kill a supervisor that is exiting.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals and opens a descriptor, `min_fd` or higher, to read them from.
    pub(crate) fn open(min_fd: RawFd) -> io::Result<Signals> {
        // If SIGCHLD is ignored, as inherited from the parent, the kernel reaps children. The dispositions of
        // the others do not matter: a blocked signal is kept until it is read.
        set_disposition(NixSignal::SIGCHLD, SigHandler::SigDfl)?;
        block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&signals(), flags)?;
        super::fd::move_above(fd.into(), min_fd).map(Signals::from_fd)
    }

    /// `fd` must be a signalfd.
    fn from_fd(fd: OwnedFd) -> Signals {
        // SAFETY: it is a signalfd: all callers have opened it as one.
        Signals(unsafe { SignalFd::from_owned_fd(fd) })
    }

    /// Keeps the descriptor open for the next program in this process. The signals stay blocked, too.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.0)
    }

    /// Adopts the descriptor that the previous program in this process has saved. Opens nothing, since that
    /// could fail, and the previous program is gone.
    pub(crate) fn resume(fd: RawFd) -> io::Result<Signals> {
        let resumed = Signals::from_fd(super::fd::adopt(fd)?);
        // This release may read more signals than the previous one.
        let _ = block();
        let _ = resumed.0.set_mask(&signals());
        Ok(resumed)
    }

    /// Reads the next signal; `None` if there is none.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        let info = loop {
            match self.0.read_signal() {
                Err(nix::errno::Errno::EINTR) => {}
                info => break info.ok()??,
            }
        };
        Signal::from_number(info.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Has writes to a file that has reached the limit of file sizes (RLIMIT_FSIZE, setrlimit(2)) fail with EFBIG,
/// where SIGXFSZ would kill this process. Must be called before the first write: standard error may be a file.
pub fn ignore_file_size_signal() {
    let _ = set_disposition(NixSignal::SIGXFSZ, SigHandler::SigIgn); // fails only under seccomp(2)
}

fn set_disposition(signal: NixSignal, handler: SigHandler) -> nix::Result<()> {
    debug_assert!(matches!(handler, SigHandler::SigDfl | SigHandler::SigIgn));
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither disposition runs code of this program.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// Blocks the signals if this is process 1 of a container, so that they are kept for [`Signals::open`]. The
/// kernel discards signals that would end such a process by default, pid_namespaces(7): an early stop would
/// be lost. Any other process is ended by them.
pub(crate) fn block_if_process_1() {
    if std::process::id() == 1 {
        let _ = block(); // if this fails, so does `Signals::open`
    }
}

/// Blocks the signals, in a process of one thread. Not `SigSet::thread_block`, which misses errors:
/// pthread_sigmask(3) returns them, and it expects -1.
fn block() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals()), None)
}

fn signals() -> SigSet {
    READ.into_iter().collect()
}
