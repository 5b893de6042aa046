//! A listener for unix sequential packets: std has no type for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{SocketAddr, UnixListener};

/// A listening unix socket for sequential packets (`SOCK_SEQPACKET`, `unix(7)`). Its connections keep
/// the boundaries of messages.
///
/// systemd creates such sockets (`ListenSequentialPacket=`). `start_server` creates none, but passes
/// on those of systemd.
///
/// ```no_run
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let listener = server_starter_worker::listeners()?.take_unix_seqpacket()?;
/// let (connection, _) = listener.accept()?;
/// // A `UnixStream` reads and writes with `recv` and `send`: one packet each.
/// let mut connection = UnixStream::from(connection);
/// let mut packet = [0; 4096]; // the rest of a longer one is lost
/// let length = connection.read(&mut packet)?;
/// connection.write_all(&packet[..length])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
// Address family, states and addresses are those of a stream socket, so std's `accept` and
// `local_addr` for stream listeners work.
pub struct UnixSeqpacketListener(UnixListener);

impl UnixSeqpacketListener {
    /// Wraps a descriptor that is known to be such a listener.
    pub(crate) fn from_listening(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// Accepts a connection, as `UnixListener::accept` does. Blocks until there is one, unless the
    /// listener is non-blocking. The descriptor of the connection is close-on-exec and blocking.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`. `WouldBlock` if the listener is non-blocking and no connection waits.
    pub fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let (connection, address) = self.0.accept()?;
        Ok((connection.into(), address))
    }

    /// The address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl AsFd for UnixSeqpacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for UnixSeqpacketListener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<UnixSeqpacketListener> for OwnedFd {
    fn from(listener: UnixSeqpacketListener) -> Self {
        listener.0.into()
    }
}
