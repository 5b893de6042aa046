//! Descriptors by number: where a descriptor sits matters to workers, which are told so.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// What is open, fstat(2); with sizes and inode numbers of 64 bits on machines of 32 bits, too.
pub(crate) fn metadata(fd: &impl AsFd) -> io::Result<Metadata> {
    // SAFETY: it is borrowed for longer than the file lives, which does not close it.
    let file = unsafe { File::from_raw_fd(fd.as_fd().as_raw_fd()) };
    ManuallyDrop::new(file).metadata()
}

/// What to do with descriptors that our parent left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrayFds {
    /// Leave them open to us alone: one may be a file that an option names, `/dev/fd/63`.
    CloseOnExec,
    /// Close them: somebody may wait for that.
    Close,
}

/// Deals with every descriptor from `first` up, but for those of `ours`, so that none reaches
/// workers, close_range(2).
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
            return one_by_one(first); // Linux before 5.11: at least not to workers
        }
        from = stop.map_or(from, |fd| fd + 1);
    }
}

fn close_range(first: RawFd, last: libc::c_uint, flags: libc::c_uint) -> bool {
    let (first, flags) = (first as libc::c_uint, flags as libc::c_int);
    // SAFETY: no memory is involved; what is closed belongs to nobody in this process, which owns
    // only the descriptors between the ranges.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

fn one_by_one(first: RawFd) {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = open
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<RawFd>().ok());
    for fd in numbers.filter(|fd| *fd >= first) {
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

/// Puts `new` on the number of `old`, which it closes; close-on-exec, dup3(2).
pub(crate) fn replace(new: OwnedFd, old: &mut OwnedFd) -> io::Result<()> {
    let number = old.as_raw_fd();
    // SAFETY: both are open, and `old` stays the owner of its number.
    Errno::result(unsafe { libc::dup3(new.as_raw_fd(), number, libc::O_CLOEXEC) })?;
    Ok(())
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

/// A duplicate of whatever is open on this number, close-on-exec, on the lowest free one. EBADF:
/// nothing is.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: any number may be asked for.
    let new = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Moves one of our own descriptors out of the way of sockets, to `least` or above. EINVAL: that
/// is beyond the limit of open files.
pub(crate) fn raise(fd: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= least {
        Ok(fd)
    } else {
        duplicate_above(&fd, least)
    }
}

/// Locks a whole file for us alone, or for all who only look, without waiting, flock(2). Says
/// whether that could be done. The lock goes when the last descriptor of this opening is closed.
pub(crate) fn try_lock(file: impl AsFd, alone: bool) -> io::Result<bool> {
    let how = if alone { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
    loop {
        // SAFETY: no memory is involved.
        match Errno::result(unsafe { libc::flock(file.as_fd().as_raw_fd(), how) }) {
            Ok(_) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Makes reads and writes wait again after an open that did not, fcntl(2). Only for an open file
/// description of our own.
pub(crate) fn set_blocking(file: impl AsFd) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: no memory is involved.
    let flags = Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) })?;
    Ok(())
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
