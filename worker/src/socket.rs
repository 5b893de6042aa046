//! What kind of socket a descriptor is.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use crate::error::EntryError;

/// A socket as the type std has for its kind: by `getsockname(2)`'s address family and by
/// `SO_TYPE` and `SO_ACCEPTCONN` (`socket(7)`).
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// A listening stream socket on IPv4 or IPv6.
    Tcp(TcpListener),
    /// A datagram socket on IPv4 or IPv6.
    Udp(UdpSocket),
    /// A listening unix stream socket (`unix(7)`).
    Unix(UnixListener),
    /// A unix datagram socket.
    UnixDatagram(UnixDatagram),
    /// Any other kind: sequential packets, netlink, a stream socket that does not listen.
    Other(OwnedFd),
}

impl Socket {
    /// The port a TCP or UDP socket is bound to, as `getsockname(2)` tells it.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let address = match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
            Self::Unix(_) | Self::UnixDatagram(_) | Self::Other(_) => return None,
        };
        address.ok().map(|address| address.port())
    }

    /// Finds out what kind of socket this is. What is no socket at all stays open.
    pub(crate) fn of_its_kind(fd: OwnedFd) -> Result<Self, EntryError> {
        let kind = match getsockopt(&fd, sockopt::SockType) {
            Ok(kind) => kind,
            // A kind that nix has no name for.
            Err(Errno::EINVAL) => return Ok(Self::Other(fd)),
            Err(errno) => {
                // Not the socket we were promised, so not ours to close either.
                let _ = fd.into_raw_fd();
                return Err(match errno {
                    Errno::ENOTSOCK => EntryError::NotASocket,
                    _ => EntryError::Io(errno.into()),
                });
            }
        };
        let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())
            .map_err(|errno| EntryError::Io(errno.into()))?
            .family();
        // Kinds without the option cannot listen.
        let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);

        Ok(match (family, kind) {
            (Some(AddressFamily::Inet | AddressFamily::Inet6), SockType::Stream) if listens => {
                Self::Tcp(fd.into())
            }
            (Some(AddressFamily::Inet | AddressFamily::Inet6), SockType::Datagram) => {
                Self::Udp(fd.into())
            }
            (Some(AddressFamily::Unix), SockType::Stream) if listens => Self::Unix(fd.into()),
            (Some(AddressFamily::Unix), SockType::Datagram) => Self::UnixDatagram(fd.into()),
            _ => Self::Other(fd),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
            Self::UnixDatagram(socket) => socket.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process};

    use nix::sys::socket::{SockFlag, socket};

    #[track_caller]
    fn kind(fd: impl Into<OwnedFd>) -> Socket {
        Socket::of_its_kind(fd.into()).expect("a socket")
    }

    #[test]
    fn tcp_and_udp() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let tcp = kind(tcp);
        assert!(matches!(tcp, Socket::Tcp(_)), "{tcp:?}");
        assert_eq!(tcp.port(), Some(port));

        let udp = kind(UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(matches!(udp, Socket::Udp(_)), "{udp:?}");
        assert!(udp.port().is_some());
    }

    #[test]
    fn tcp_on_ipv6() {
        let Ok(tcp) = TcpListener::bind("[::1]:0") else {
            return eprintln!("no IPv6 here: nothing to test");
        };
        assert!(matches!(kind(tcp), Socket::Tcp(_)));
    }

    #[test]
    fn unix_streams_and_datagrams() {
        let dir = env::temp_dir().join(format!("worker-kinds-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let stream = kind(UnixListener::bind(dir.join("stream")).unwrap());
        let datagram = kind(UnixDatagram::bind(dir.join("datagram")).unwrap());
        fs::remove_dir_all(&dir).unwrap();

        assert!(matches!(stream, Socket::Unix(_)), "{stream:?}");
        assert!(matches!(datagram, Socket::UnixDatagram(_)), "{datagram:?}");
        assert_eq!(stream.port(), None);
    }

    #[test]
    fn what_std_has_no_type_for_is_a_plain_descriptor() {
        let flags = SockFlag::empty();
        let packets = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, None).unwrap();
        let not_listening = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        for fd in [packets, netlink, not_listening] {
            let socket = kind(fd);
            assert!(matches!(socket, Socket::Other(_)), "{socket:?}");
            assert_eq!(socket.port(), None);
        }
    }
}
