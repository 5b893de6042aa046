//! Takes ownership of an inherited descriptor.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

use crate::error::EntryError;

/// Takes ownership of a descriptor that was inherited through `execve(2)`, and makes it close-on-exec.
///
/// A descriptor that is close-on-exec already is refused: it was not inherited. Rust's std sets the
/// flag on each descriptor that it opens, and this function on each that it has returned.
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
    // SAFETY: the descriptor is open, and nothing else in this process owns it: it was inherited,
    // and SERVER_STARTER_PORT or LISTEN_FDS of our supervisor assigns it to this process.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&owned, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))
        .map_err(|errno| EntryError::Io(errno.into()))?;
    Ok(owned)
}
