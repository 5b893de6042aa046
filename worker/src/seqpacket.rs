//! The kind of socket that std has no type for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{SocketAddr, UnixListener};

/// A listening unix socket of sequential packets (`SOCK_SEQPACKET`, `unix(7)`): connections, as
/// with streams, that keep the boundaries of messages, as with datagrams.
///
/// systemd makes them (`ListenSequentialPacket=`), `start_server` takes them from systemd.
///
/// ```no_run
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let listener = server_starter_worker::listeners()?.take_unix_seqpacket()?;
/// let (connection, _) = listener.accept()?;
/// // `send` and `recv` are what it takes, and what a `UnixStream` does.
/// let mut connection = UnixStream::from(connection);
/// let mut packet = [0; 4096]; // the rest of a longer one is lost
/// let length = connection.read(&mut packet)?;
/// connection.write_all(&packet[..length])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
// Family, states and addresses are those of a stream socket: what std does to accept one is
// right for this one too.
pub struct UnixSeqpacketListener(UnixListener);

impl UnixSeqpacketListener {
    /// Of what is known to be one.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// Waits for a connection, as `UnixListener::accept` does: the descriptor is close-on-exec,
    /// and blocking whatever the listener is.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`; `WouldBlock` if somebody made the listener non-blocking and there is
    /// no connection.
    pub fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let (connection, address) = self.0.accept()?;
        Ok((connection.into(), address))
    }

    /// The address it listens on.
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
