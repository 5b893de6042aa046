//! Descriptors by number: where a descriptor sits matters to workers, which are told so.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Marks every descriptor from `first` up close-on-exec, close_range(2): whatever our parent left
/// open stays ours and does not reach workers.
pub(crate) fn close_on_exec_from(first: RawFd) {
    let first = first as libc::c_uint;
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: changes flags of descriptors, and nothing in memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if done == 0 {
        return;
    }
    // Before Linux 5.11: one by one.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = open
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<RawFd>().ok());
    for fd in numbers.filter(|fd| *fd >= first as RawFd) {
        // SAFETY: changes a flag of a descriptor, if it is open at all.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Moves a descriptor to the given number, close-on-exec, dup3(2). Whatever was open there before
/// is closed, so the number must be the caller's to give away.
pub(crate) fn park(fd: OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    // SAFETY: both numbers are plain integers to the kernel; `fd` is open.
    let parked = Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) })?;
    // SAFETY: dup3 has just made it, and the caller gave us the number: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(parked) })
}

/// Whether something is open on this number.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: any number may be asked about.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Becomes the owner of a descriptor that came through exec, and makes it close-on-exec. EBADF:
/// there is none, or it has been made close-on-exec before and so is somebody's already.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: any number may be asked about.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: sets a flag of an open descriptor.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and nobody owned it: what this process opens is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes standard stream `number` (0, 1 or 2) the same open file as `fd`, dup2(2). It stays open
/// across exec.
pub(crate) fn redirect(fd: impl AsFd, number: RawFd) -> io::Result<()> {
    // SAFETY: the standard streams are owned by nobody; std itself writes to them by number.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) })?;
    Ok(())
}

/// A duplicate of a descriptor, close-on-exec, at `least` or above.
pub(crate) fn duplicate_above(fd: impl AsFd, least: RawFd) -> io::Result<OwnedFd> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `fd` is open for the time of the call.
    let new = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Moves one of our own descriptors out of the way of sockets, to `least` or above. If there is no
/// room it stays where it is.
pub(crate) fn raise(fd: OwnedFd, least: RawFd) -> OwnedFd {
    if fd.as_raw_fd() >= least {
        fd
    } else {
        duplicate_above(&fd, least).unwrap_or(fd)
    }
}

/// listen(2) with any backlog; the kernel cuts it down to net.core.somaxconn.
pub(crate) fn listen(socket: impl AsFd, backlog: u32) -> io::Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn parks_on_the_number_asked_for_and_closes_the_old_one() {
        let file = duplicate_above(File::open("/dev/null").unwrap(), 200).unwrap();
        let before = file.as_raw_fd();
        let parked = park(file, 333).unwrap();
        assert_eq!(parked.as_raw_fd(), 333);
        // SAFETY: F_GETFD on a number that is not open fails, which is what we ask for.
        assert_eq!(unsafe { libc::fcntl(before, libc::F_GETFD) }, -1);
        // SAFETY: as above; this one is open.
        assert_eq!(unsafe { libc::fcntl(333, libc::F_GETFD) }, libc::FD_CLOEXEC);
        assert_eq!(park(parked, 333).unwrap().as_raw_fd(), 333);
    }
}
