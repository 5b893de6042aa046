//! Another process held by descriptor, pidfd_open(2): a signal sent through it cannot hit a
//! stranger that has got the same pid meanwhile.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

    /// A duplicate of what that very process has open on this number, close-on-exec,
    /// pidfd_getfd(2). EBADF: nothing is; ESRCH: the process has ended; EPERM: we may not trace it.
    pub(crate) fn duplicate_fd(&self, number: RawFd) -> io::Result<OwnedFd> {
        let pidfd = self.0.as_raw_fd();
        // SAFETY: three integers in, a new descriptor out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just made it for us (close-on-exec is always set).
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// Moves the descriptor out of the way of sockets, to `least` or above.
    pub(crate) fn raise(self, least: RawFd) -> io::Result<PidFd> {
        super::fd::raise(self.0, least).map(PidFd)
    }

    /// Whether that process has ended, be it reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        while let Err(Errno::EINTR) = poll(&mut fds, PollTimeout::ZERO) {}
        fds.iter().any(|fd| fd.any() == Some(true))
    }
}

impl From<OwnedFd> for PidFd {
    /// `fd` has to be what [`PidFd::open`] has once returned.
    fn from(fd: OwnedFd) -> PidFd {
        PidFd(fd)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;
    use crate::sys::fd::metadata;

    #[test]
    fn a_descriptor_of_another_process_is_duplicated() {
        let file = tempfile::tempfile().unwrap();
        let inode = file.metadata().unwrap().ino();
        let child = Command::new("sleep").arg("1000").stdin(file).spawn();
        let mut child = child.unwrap();
        let process = PidFd::open(child.id() as Pid).unwrap();
        assert!(!process.has_ended());
        let copy = process.duplicate_fd(0).unwrap();
        assert_eq!(metadata(&copy).unwrap().ino(), inode);
        let unused = process.duplicate_fd(999).unwrap_err();
        assert_eq!(unused.raw_os_error(), Some(libc::EBADF));

        child.kill().unwrap();
        while !process.has_ended() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.has_ended());
        let gone = process.duplicate_fd(0).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
        let gone = process.kill(Signal::KILL).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }
}
