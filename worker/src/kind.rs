//! What kind of descriptor a worker has got.

use std::fmt;

/// The kinds of [`Socket`](crate::Socket). `Display` gives the kind in words.
///
/// ```
/// assert_eq!(server_starter_worker::Kind::Udp.to_string(), "UDP socket");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`Socket::Tcp`](crate::Socket::Tcp)
    Tcp,
    /// [`Socket::Udp`](crate::Socket::Udp)
    Udp,
    /// [`Socket::Unix`](crate::Socket::Unix)
    Unix,
    /// [`Socket::UnixDatagram`](crate::Socket::UnixDatagram)
    UnixDatagram,
    /// [`Socket::UnixSeqpacket`](crate::Socket::UnixSeqpacket)
    UnixSeqpacket,
    /// [`Socket::Other`](crate::Socket::Other)
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP listener",
            Self::Udp => "UDP socket",
            Self::Unix => "unix stream listener",
            Self::UnixDatagram => "unix datagram socket",
            Self::UnixSeqpacket => "unix seqpacket listener",
            Self::Other => "other descriptor",
        })
    }
}
