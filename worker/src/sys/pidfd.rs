//! The pidfd id of this process: unlike a pid, it is never reused.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};

/// The file system of pidfds, from linux/magic.h: "PIDF".
const PID_FS: FsType = FsType(0x5049_4446);

/// The id of this process that systemd puts into `LISTEN_PIDFDID`: the inode number of its pidfd.
/// `None` before Linux 6.9, where all pidfds share one inode, and if pidfd_open(2) is not permitted.
pub(crate) fn own_id() -> Option<u64> {
    let pid = libc::pid_t::try_from(std::process::id()).ok()?;
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory of ours.
    let result = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).ok()?;
    #[allow(clippy::useless_conversion)] // not on machines of 64 bits
    let fd = i32::try_from(result).ok()?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as all pidfds).
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
    if fstatfs(&pidfd).ok()?.filesystem_type() != PID_FS {
        return None;
    }
    #[allow(clippy::useless_conversion)] // 32 bits wide on machines of 32 bits
    Some(u64::from(fstat(&pidfd).ok()?.st_ino))
}
