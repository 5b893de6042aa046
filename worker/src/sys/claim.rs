//! From the number of a descriptor to its owner.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

use crate::error::EntryError;

/// Becomes the owner of a descriptor that came through `execve(2)`, and makes it close-on-exec.
///
/// That flag is also the guard: what came through `execve` does not have it, and what Rust's std
/// opened in this process, or this function has given out before, does.
pub(crate) fn claim(fd: RawFd) -> Result<OwnedFd, EntryError> {
    // SAFETY: F_GETFD takes any number, reads and writes no memory, and answers EBADF when
    // nothing is open there.
    let flags = match Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) }) {
        Err(_) => return Err(EntryError::Closed),
        Ok(bits) => FdFlag::from_bits_retain(bits),
    };
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Err(EntryError::NotInherited);
    }
    // SAFETY: the descriptor is open, and nobody else in this process owns it: it was inherited,
    // and SERVER_STARTER_PORT or LISTEN_FDS is the word of who started us that it is for us.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&owned, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))
        .map_err(|errno| EntryError::Io(errno.into()))?;
    Ok(owned)
}
