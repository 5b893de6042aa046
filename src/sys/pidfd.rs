//! Another process held by descriptor, pidfd_open(2): a signal sent through it cannot hit a
//! stranger that has got the same pid meanwhile.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use crate::types::{Pid, Signal};

/// A process that is not our child. The descriptor becomes readable when it ends.
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Takes hold of the process that has this pid now. ESRCH: there is none.
    pub(crate) fn open(pid: Pid) -> io::Result<PidFd> {
        // SAFETY: two integers in, a new descriptor out.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the kernel has just made it for us (close-on-exec is always set).
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Sends a signal to that very process, pidfd_send_signal(2). ESRCH: it has ended.
    pub(crate) fn kill(&self, signal: Signal) -> io::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal.number());
        let no_info = ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo means the one that kill(2) would send.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        Errno::result(sent)?;
        Ok(())
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
