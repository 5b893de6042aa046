//! File descriptors by number. The numbers matter: workers are told on which ones their sockets are.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::dup3_raw;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{DupFlags, retry_on_intr};

/// The metadata of an open file, fstat(2). Sizes and inode numbers have 64 bits on 32-bit machines, too.
pub(crate) fn metadata(fd: &impl AsFd) -> io::Result<Metadata> {
    // SAFETY: the descriptor is borrowed for longer than `file` lives, and `file` does not close it.
    let file = unsafe { File::from_raw_fd(fd.as_fd().as_raw_fd()) };
    ManuallyDrop::new(file).metadata()
}

/// What to do with descriptors that the parent process left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrayFds {
    /// Keep them open in this process only. An option may name one: `/dev/fd/63`.
    CloseOnExec,
    /// Close them. A process may wait for the end of file on a pipe.
    Close,
}

/// Closes, or makes close-on-exec, every descriptor from `first` up except `ours`, close_range(2), so that
/// workers inherit none of them.
pub(crate) fn handle_stray_fds(first: RawFd, ours: &[RawFd], how: StrayFds) {
    let flags = match how {
        StrayFds::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
        StrayFds::Close => 0,
    };
    let mut ours: Vec<RawFd> = ours.iter().copied().filter(|fd| *fd >= first).collect();
    ours.sort_unstable();
    let mut from = first;
    for stop in ours.into_iter().map(Some).chain([None]) {
        let last = stop.map_or(libc::c_uint::MAX, |fd| fd as libc::c_uint - 1);
        if from as libc::c_uint <= last && !close_range(from, last, flags) {
            return set_all_close_on_exec(first); // before Linux 5.11; closes none of them
        }
        from = stop.map_or(from, |fd| fd + 1);
    }
}

/// Returns whether the kernel has close_range(2) with these flags.
fn close_range(first: RawFd, last: libc::c_uint, flags: libc::c_uint) -> bool {
    let (first, flags) = (first as libc::c_uint, flags as libc::c_int);
    // SAFETY: accesses no memory. No value of this process owns a descriptor in the range: those that are
    // owned are in `ours`.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

fn set_all_close_on_exec(first: RawFd) {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = open
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<RawFd>().ok());
    for fd in numbers.filter(|fd| *fd >= first) {
        // SAFETY: changes a flag of a descriptor; fails if it is not open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Moves a descriptor to this number, close-on-exec, dup3(2). A descriptor that is open there is closed:
/// no value may own it.
pub(crate) fn dup_to(fd: OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    // SAFETY: no other value owns the number, as the caller ensures.
    Ok(unsafe { dup3_raw(fd, number, OFlag::O_CLOEXEC) }?)
}

/// Puts `new` on the number of `old`, which is closed; close-on-exec, dup3(2).
pub(crate) fn replace(new: OwnedFd, old: &mut OwnedFd) -> io::Result<()> {
    Ok(rustix::io::dup3(new, old, DupFlags::CLOEXEC)?)
}

/// Whether a descriptor is open on this number.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only reads, and fails for a number that is not open.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Takes ownership of a descriptor that was inherited through exec, and makes it close-on-exec.
///
/// # Errors
/// EBADF if the number is not open, or is close-on-exec: then it was opened by this program, and has an
/// owner.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only reads, and fails for a number that is not open.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: sets a flag of an open descriptor.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and has no owner, since everything that this program opens is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Duplicates a descriptor onto the lowest free number that is `min_fd` or higher, close-on-exec, fcntl(2).
///
/// # Errors
/// EINVAL if `min_fd` is beyond the limit of open files.
pub(crate) fn dup_above(fd: impl AsFd, min_fd: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, min_fd)?)
}

/// Duplicates the descriptor of this number onto the lowest free one, close-on-exec, fcntl(2).
///
/// # Errors
/// EBADF if the number is not open.
pub(crate) fn dup_number(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: accesses no memory, and fails for a number that is not open.
    let new = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: fcntl has just opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Moves a descriptor to `min_fd` or higher, close-on-exec: lower numbers are reserved for sockets. Does
/// nothing if it is there.
///
/// # Errors
/// EINVAL if `min_fd` is beyond the limit of open files.
pub(crate) fn move_above(fd: OwnedFd, min_fd: RawFd) -> io::Result<OwnedFd> {
    match fd.as_raw_fd() >= min_fd {
        true => Ok(fd),
        false => dup_above(&fd, min_fd),
    }
}

/// Takes an exclusive lock of a file without waiting, flock(2). Returns whether it was taken. It ends when the
/// last descriptor of this open file description is closed.
pub(crate) fn try_lock(file: impl AsFd) -> io::Result<bool> {
    lock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Takes a shared lock, as [`try_lock`] does.
pub(crate) fn try_lock_shared(file: impl AsFd) -> io::Result<bool> {
    lock(file, FlockOperation::NonBlockingLockShared)
}

fn lock(file: impl AsFd, operation: FlockOperation) -> io::Result<bool> {
    match retry_on_intr(|| flock(&file, operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Clears O_NONBLOCK, fcntl(2). The flag belongs to the open file description, which must not be shared with
/// other processes.
pub(crate) fn set_blocking(file: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    Ok(rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?)
}

/// Calls listen(2) with any backlog; the kernel limits it to net.core.somaxconn.
pub(crate) fn listen(socket: impl AsFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(rustix::net::listen(socket, backlog)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn moved_descriptor_is_close_on_exec_and_its_old_number_is_closed() {
        let file = dup_above(File::open("/dev/null").unwrap(), 200).unwrap();
        let before = file.as_raw_fd();
        let moved = dup_to(file, 333).unwrap();
        assert_eq!(moved.as_raw_fd(), 333);
        // SAFETY: F_GETFD on a number that is not open fails, as expected.
        assert_eq!(unsafe { libc::fcntl(before, libc::F_GETFD) }, -1);
        // SAFETY: as above; this one is open.
        assert_eq!(unsafe { libc::fcntl(333, libc::F_GETFD) }, libc::FD_CLOEXEC);
        assert_eq!(dup_to(moved, 333).unwrap().as_raw_fd(), 333);
    }
}
