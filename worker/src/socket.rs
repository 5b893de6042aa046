//! [`Socket`]: a descriptor with the type that std has for its kind of socket.

use std::ffi::{OsStr, OsString};
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
use crate::kind::Kind;
use crate::seqpacket::UnixSeqpacketListener;

/// A socket with the type that std has for its kind. The kind is the address family of
/// `getsockname(2)` with the socket options `SO_TYPE` and `SO_ACCEPTCONN` (`socket(7)`).
///
/// `TryFrom` converts it to one of these types:
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
    /// Any other descriptor that systemd passes: a netlink or vsock socket, a connection
    /// (`Accept=yes`), a FIFO, a message queue, a file. If only `SERVER_STARTER_PORT` lists it, it is
    /// a socket of another family or type.
    Other(OwnedFd),
}

/// Which descriptors the variable that lists them allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Listening and datagram sockets only: `SERVER_STARTER_PORT`.
    Sockets,
    /// Any open descriptor: `LISTEN_FDS`.
    AnyDescriptor,
}

impl Socket {
    /// The kind of this socket.
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

    /// The port that a TCP or UDP socket is bound to (`getsockname(2)`), from 0 to 65535. `None` for
    /// other kinds.
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

    /// The key that `start_server` makes from the address of an inherited socket. `None` if the
    /// socket has no internet or unix address.
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

    /// Determines the kind of a descriptor. A descriptor that had to be a socket and is none is left
    /// open.
    pub(crate) fn from_fd(fd: OwnedFd, accepts: Accepts) -> Result<Self, EntryError> {
        let kind = match getsockopt(&fd, sockopt::SockType) {
            Ok(kind) => kind,
            // A type of socket that nix does not know.
            Err(Errno::EINVAL) => return Ok(Self::Other(fd)),
            Err(Errno::ENOTSOCK) if accepts == Accepts::AnyDescriptor => {
                return Ok(Self::Other(fd));
            }
            Err(errno) => {
                // Not a socket, so not one that was passed to us: do not close it.
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
        // Types of socket without this option cannot listen.
        let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
        let connects = matches!(kind, SockType::Stream | SockType::SeqPacket);
        if connects && !listens {
            return match accepts {
                Accepts::AnyDescriptor => Ok(Self::Other(fd)),
                Accepts::Sockets => Err(EntryError::NotListening),
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
                Self::UnixSeqpacket(UnixSeqpacketListener::from_listening(fd))
            }
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

/// Implements `TryFrom<Socket>` for the type of each kind. A socket of another kind is closed, in
/// this process alone, and the error is [`Error::WrongKind`].
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
        Socket::from_fd(fd.into(), Accepts::Sockets).expect("a socket")
    }

    #[test]
    fn tcp_and_udp_sockets_are_recognized_and_have_a_port() {
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
    fn tcp_on_ipv6_is_recognized() {
        let Ok(tcp) = TcpListener::bind("[::1]:0") else {
            return eprintln!("no IPv6 here: nothing to test");
        };
        assert!(matches!(kind(tcp), Socket::Tcp(_)));
    }

    #[test]
    fn unix_stream_and_datagram_sockets_are_recognized() {
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
    fn seqpacket_listener_accepts_and_keeps_message_boundaries() {
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
    fn unusable_descriptor_is_refused_unless_any_is_accepted() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let unbound = || socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let error = Socket::from_fd(unbound(), Accepts::Sockets).unwrap_err();
        assert!(matches!(error, EntryError::NotListening), "{error:?}");
        let (connection, _peer) = UnixStream::pair().unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, None).unwrap();
        for fd in [unbound(), connection.into(), file.into(), netlink] {
            let socket = Socket::from_fd(fd, Accepts::AnyDescriptor).unwrap();
            assert_eq!(socket.kind(), Kind::Other);
            assert_eq!((socket.port(), socket.key()), (None, None));
        }
    }

    #[test]
    fn keys_equal_those_of_start_server() {
        let any = kind(TcpListener::bind("0.0.0.0:0").unwrap());
        assert_eq!(any.key(), any.port().map(|port| port.to_string().into()));
        let one = kind(UdpSocket::bind("127.0.0.1:0").unwrap());
        let expected = format!("127.0.0.1:{}", one.port().unwrap());
        assert_eq!(one.key(), Some(expected.into()));
    }

    #[test]
    fn conversion_to_another_kind_is_refused() {
        let udp = kind(UdpSocket::bind("127.0.0.1:0").unwrap());
        let error = TcpListener::try_from(udp).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this socket is no TCP listener, but of this kind: UDP socket"
        );
    }
}
