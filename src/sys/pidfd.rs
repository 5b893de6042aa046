//! A process by descriptor, pidfd_open(2). A signal that is sent through it cannot reach another process that
//! got the same pid later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use crate::types::{Pid, Signal};

/// A process. The descriptor becomes readable when it ends, whether it is a child of this process or not.
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this pid now.
    ///
    /// # Errors
    /// Those of pidfd_open(2): ESRCH if no process has the pid.
    pub(crate) fn open(pid: Pid) -> io::Result<PidFd> {
        let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
        Ok(PidFd(rustix::process::pidfd_open(
            pid,
            PidfdFlags::empty(),
        )?))
    }

    /// Sends a signal to the process, pidfd_send_signal(2).
    ///
    /// # Errors
    /// ESRCH if the process has ended and was reaped; EPERM if this process may not signal it.
    pub(crate) fn kill(&self, signal: Signal) -> io::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal.number());
        let no_info = ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo_t pointer is allowed, and has the kernel send the signal as kill(2) does.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        Errno::result(sent)?;
        Ok(())
    }

    /// Duplicates a descriptor of the process, pidfd_getfd(2); close-on-exec.
    ///
    /// # Errors
    /// EBADF if the number is not open in the process, ESRCH if the process has ended, EPERM if this process
    /// may not trace it.
    pub(crate) fn duplicate_fd(&self, number: RawFd) -> io::Result<OwnedFd> {
        Ok(rustix::process::pidfd_getfd(
            &self.0,
            number,
            PidfdGetfdFlags::empty(),
        )?)
    }

    /// Moves the descriptor to `min_fd` or higher.
    pub(crate) fn move_above(self, min_fd: RawFd) -> io::Result<PidFd> {
        super::fd::move_above(self.0, min_fd).map(PidFd)
    }

    /// Whether the process has ended, reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        while let Err(Errno::EINTR) = poll(&mut fds, PollTimeout::ZERO) {}
        fds.iter().any(|fd| fd.any() == Some(true))
    }
}

impl From<OwnedFd> for PidFd {
    /// `fd` must be a pidfd.
    fn from(fd: OwnedFd) -> PidFd {
        PidFd(fd)
    }
}

impl PidFd {
    /// Waits for the end of the process, for at most `timeout`. Returns whether it has ended.
    pub(crate) fn ends_within(&self, timeout: Duration) -> bool {
        // Rounded up, so that a wait is never a busy one.
        let millis = timeout.as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => {}
                ended => return matches!(ended, Ok(1..)),
            }
        }
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
    fn descriptor_of_another_process_is_duplicated_until_the_process_ends() {
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
