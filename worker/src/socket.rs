//! What kind of socket a descriptor is.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use crate::error::{EntryError, Error};
use crate::seqpacket::UnixSeqpacketListener;

/// A socket as the type std has for its kind: by `getsockname(2)`'s address family and by
/// `SO_TYPE` and `SO_ACCEPTCONN` (`socket(7)`).
///
/// With `TryFrom` it becomes the one type you expect:
///
/// ```no_run
/// use server_starter_worker::{Error, Kind, listeners};
/// use std::net::UdpSocket;
///
/// let mut sockets = listeners()?;
/// let dns = sockets.take_port(53).ok_or(Error::Missing(Kind::Udp))?;
/// let dns: UdpSocket = dns.try_into()?;
/// # Ok::<(), Error>(())
/// ```
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
    /// A listening unix socket of sequential packets.
    UnixSeqpacket(UnixSeqpacketListener),
    /// Whatever else systemd passes: netlink, vsock, a connection (`Accept=yes`), a FIFO, a
    /// message queue, a file. From `start_server` alone it can only be a socket of another family
    /// or type.
    Other(OwnedFd),
}

/// The kinds of [`Socket`]. Shown in words.
///
/// ```
/// assert_eq!(server_starter_worker::Kind::Udp.to_string(), "UDP socket");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`Socket::Tcp`]
    Tcp,
    /// [`Socket::Udp`]
    Udp,
    /// [`Socket::Unix`]
    Unix,
    /// [`Socket::UnixDatagram`]
    UnixDatagram,
    /// [`Socket::UnixSeqpacket`]
    UnixSeqpacket,
    /// [`Socket::Other`]
    Other,
}

/// What we know of the one who passes a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    /// Sockets ready for use and nothing else, as `start_server` does.
    Sockets,
    /// Any descriptor, as systemd does.
    Anything,
}

impl Socket {
    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tcp(_) => Kind::Tcp,
            Self::Udp(_) => Kind::Udp,
            Self::Unix(_) => Kind::Unix,
            Self::UnixDatagram(_) => Kind::UnixDatagram,
            Self::UnixSeqpacket(_) => Kind::UnixSeqpacket,
            Self::Other(_) => Kind::Other,
        }
    }

    /// The port a TCP or UDP socket is bound to, as `getsockname(2)` tells it.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.internet_address().map(|address| address.port())
    }

    fn internet_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Udp(socket) => socket.local_addr().ok(),
            _ => None,
        }
    }

    fn unix_address(&self) -> Option<unix::SocketAddr> {
        match self {
            Self::Unix(listener) => listener.local_addr().ok(),
            Self::UnixDatagram(socket) => socket.local_addr().ok(),
            Self::UnixSeqpacket(listener) => listener.local_addr().ok(),
            _ => None,
        }
    }

    /// The key that `start_server` gives a socket which no option named: made from its address.
    pub(crate) fn key(&self) -> Option<OsString> {
        match self.internet_address() {
            Some(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => {
                return Some(v4.port().to_string().into());
            }
            Some(address) => return Some(address.to_string().into()),
            None => {}
        }
        let address = self.unix_address()?;
        if let Some(path) = address.as_pathname() {
            return Some(path.into());
        }
        let mut key = OsString::from("@");
        key.push(OsStr::from_bytes(address.as_abstract_name()?));
        Some(key)
    }

    /// Finds out what kind of socket this is. What is no socket, and should be, stays open.
    pub(crate) fn of_its_kind(fd: OwnedFd, passes: Passes) -> Result<Self, EntryError> {
        let kind = match getsockopt(&fd, sockopt::SockType) {
            Ok(kind) => kind,
            // A kind that nix has no name for.
            Err(Errno::EINVAL) => return Ok(Self::Other(fd)),
            Err(Errno::ENOTSOCK) if passes == Passes::Anything => return Ok(Self::Other(fd)),
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
        let connects = matches!(kind, SockType::Stream | SockType::SeqPacket);
        if connects && !listens {
            return match passes {
                Passes::Anything => Ok(Self::Other(fd)),
                Passes::Sockets => Err(EntryError::NotListening),
            };
        }

        Ok(match (family, kind) {
            (Some(AddressFamily::Inet | AddressFamily::Inet6), SockType::Stream) => {
                Self::Tcp(fd.into())
            }
            (Some(AddressFamily::Inet | AddressFamily::Inet6), SockType::Datagram) => {
                Self::Udp(fd.into())
            }
            (Some(AddressFamily::Unix), SockType::Stream) => Self::Unix(fd.into()),
            (Some(AddressFamily::Unix), SockType::Datagram) => Self::UnixDatagram(fd.into()),
            (Some(AddressFamily::Unix), SockType::SeqPacket) => {
                Self::UnixSeqpacket(UnixSeqpacketListener::of(fd))
            }
            _ => Self::Other(fd),
        })
    }
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

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
            Self::UnixDatagram(socket) => socket.as_fd(),
            Self::UnixSeqpacket(listener) => listener.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(listener) => listener.into(),
            Socket::Udp(socket) => socket.into(),
            Socket::Unix(listener) => listener.into(),
            Socket::UnixDatagram(socket) => socket.into(),
            Socket::UnixSeqpacket(listener) => listener.into(),
            Socket::Other(fd) => fd,
        }
    }
}

/// From the kind to the type. A socket of another kind is closed, in this process alone, and is
/// [`Error::WrongKind`].
macro_rules! try_from_socket {
    ($($kind:ident => $type:ty),* $(,)?) => {$(
        impl TryFrom<Socket> for $type {
            type Error = Error;

            fn try_from(socket: Socket) -> Result<Self, Error> {
                match socket {
                    Socket::$kind(it) => Ok(it),
                    other => Err(Error::WrongKind {
                        wanted: Kind::$kind,
                        found: other.kind(),
                    }),
                }
            }
        }
    )*};
}

try_from_socket! {
    Tcp => TcpListener,
    Udp => UdpSocket,
    Unix => UnixListener,
    UnixDatagram => UnixDatagram,
    UnixSeqpacket => UnixSeqpacketListener,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::{env, fs, process};

    use nix::sys::socket::{Backlog, SockFlag, UnixAddr, bind, connect, listen, socket};

    #[track_caller]
    fn kind(fd: impl Into<OwnedFd>) -> Socket {
        Socket::of_its_kind(fd.into(), Passes::Sockets).expect("a socket")
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
    fn packets_in_sequence() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let packets = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let name = format!("worker-packets-{}", process::id());
        let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        bind(packets.as_raw_fd(), &address).unwrap();
        listen(&packets, Backlog::new(1).unwrap()).unwrap();
        let packets = kind(packets);
        assert_eq!(packets.key(), Some(format!("@{name}").into()));
        let listener = UnixSeqpacketListener::try_from(packets).unwrap();

        let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(client.as_raw_fd(), &address).unwrap();
        let (client, server) = (fs::File::from(client), listener.accept().unwrap().0);
        (&client).write_all(b"one").unwrap();
        (&client).write_all(b"two").unwrap();
        let mut packet = [0; 8];
        let length = fs::File::from(server).read(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"one");
    }

    #[test]
    fn what_is_not_ready_for_use_is_refused_unless_anything_goes() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let unbound = || socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let error = Socket::of_its_kind(unbound(), Passes::Sockets).unwrap_err();
        assert!(matches!(error, EntryError::NotListening), "{error:?}");
        let (connection, _peer) = UnixStream::pair().unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, None).unwrap();
        for fd in [unbound(), connection.into(), file.into(), netlink] {
            let socket = Socket::of_its_kind(fd, Passes::Anything).unwrap();
            assert_eq!(socket.kind(), Kind::Other);
            assert_eq!((socket.port(), socket.key()), (None, None));
        }
    }

    #[test]
    fn keys_are_those_of_start_server() {
        let any = kind(TcpListener::bind("0.0.0.0:0").unwrap());
        assert_eq!(any.key(), any.port().map(|port| port.to_string().into()));
        let one = kind(UdpSocket::bind("127.0.0.1:0").unwrap());
        let expected = format!("127.0.0.1:{}", one.port().unwrap());
        assert_eq!(one.key(), Some(expected.into()));
    }

    #[test]
    fn a_kind_is_not_mistaken_for_another() {
        let udp = kind(UdpSocket::bind("127.0.0.1:0").unwrap());
        let error = TcpListener::try_from(udp).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this socket is no TCP listener, but of this kind: UDP socket"
        );
    }
}
