//! Signals as news to be read, signalfd(2), instead of handlers that interrupt.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal as Known, sigprocmask,
};

use super::reexec::Kept;
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
    /// Blocks the signals and opens a descriptor, `above` or higher, to read them from.
    pub(crate) fn hear(above: RawFd) -> io::Result<Signals> {
        let heard: SigSet = HEARD.into_iter().collect();
        let dispose = |signal, how| {
            let action = SigAction::new(how, SaFlags::empty(), SigSet::empty());
            // SAFETY: neither disposition runs code of ours.
            unsafe { nix::sys::signal::sigaction(signal, &action) }
        };
        // Ignored by our parent, SIGCHLD would make the kernel reap children behind our back.
        // Handlers and ignoring do not matter for the others: a blocked signal is kept for us.
        dispose(Known::SIGCHLD, SigHandler::SigDfl)?;
        // A file that may not grow any more (RLIMIT_FSIZE) is an error like others, EFBIG.
        dispose(Known::SIGXFSZ, SigHandler::SigIgn)?;
        block(&heard)?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set outlives the call; -1 asks for a new descriptor.
        let fd = Errno::result(unsafe { libc::signalfd(-1, heard.as_ref(), flags) })?;
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        super::fd::raise(fd, above).map(Signals)
    }

    /// For the next program in this process. The signals stay blocked, too.
    pub(crate) fn save(&self, kept: &mut Kept) -> RawFd {
        kept.keep(&self.0)
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

/// Every signal to its default disposition, as in a fresh process: ignored ones would survive
/// exec(2).
///
/// # Safety
/// For a forked child, before exec: handlers of the parent's program must not be needed any more.
pub(super) unsafe fn reset_dispositions() {
    // The system call itself, since the C library keeps 32 and 33 to itself. Its structure is three
    // words and a mask, and all zeros are SIG_DFL without flags.
    let default = [0_u64; 8];
    let (none, mask_size) = (ptr::null_mut::<u64>(), size_of::<u64>());
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: `default` is larger than the structure. KILL and STOP are refused: that is fine.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                none,
                mask_size,
            )
        };
    }
}

/// Lets every signal through.
///
/// # Safety
/// For a forked child, after [`reset_dispositions`].
pub(super) unsafe fn unblock_all() {
    // SAFETY: an empty set, made on our stack.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}
