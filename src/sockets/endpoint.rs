//! The address of an inherited descriptor: which spec it serves, and its key.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt,
    sockopt,
};

/// The address and the type of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    address: BoundAddress,
    /// `None` if it is no socket.
    kind: Option<SockType>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BoundAddress {
    /// `both`: an IPv6 socket that takes IPv4 as well, as systemd makes them for a bare port.
    Ip {
        address: SocketAddr,
        both: bool,
    },
    Path(PathBuf),
    Abstract(Vec<u8>),
    /// A FIFO, a netlink socket, …: anything else that systemd can open.
    Nameless,
}

impl BoundAddress {
    /// Reads the address of a socket, getsockname(2).
    fn of(fd: &OwnedFd) -> nix::Result<BoundAddress> {
        let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
        let address = match name.family() {
            Some(AddressFamily::Inet) => name.as_sockaddr_in().map(|a| BoundAddress::Ip {
                address: SocketAddr::V4((*a).into()),
                both: false,
            }),
            Some(AddressFamily::Inet6) => {
                let v6_only = getsockopt(fd, sockopt::Ipv6V6Only).unwrap_or(true);
                name.as_sockaddr_in6().map(|a| BoundAddress::Ip {
                    address: SocketAddr::V6((*a).into()),
                    both: !v6_only,
                })
            }
            Some(AddressFamily::Unix) => name.as_unix_addr().and_then(|a| {
                let path = a.path().map(|path| BoundAddress::Path(path.to_owned()));
                let name = a.as_abstract();
                path.or(name.map(|name| BoundAddress::Abstract(name.to_owned())))
            }),
            _ => None,
        };
        Ok(address.unwrap_or(BoundAddress::Nameless))
    }
}

/// Opens a TCP socket again that systemd has kept and a worker of an earlier supervisor has shut down: it has
/// a port but no peer. Returns whether it was such a socket.
fn listens_again(fd: &OwnedFd) -> bool {
    let peer: nix::Result<SockaddrStorage> = getpeername(fd.as_raw_fd());
    let own: Option<SockaddrStorage> = getsockname(fd.as_raw_fd()).ok();
    let port = own.and_then(|own| {
        let v4 = own.as_sockaddr_in().map(|a| a.port());
        v4.or_else(|| own.as_sockaddr_in6().map(|a| a.port()))
    });
    let was_shut_down = peer == Err(Errno::ENOTCONN) && port.is_some_and(|port| port != 0);
    was_shut_down && crate::sys::fd::listen(fd, u32::MAX).is_ok()
}

/// Why a descriptor is not passed on to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is a connection. Generations need the listening socket.
    Connection,
    /// Its type or address cannot be read.
    Unreadable(Errno),
}

impl Endpoint {
    /// Reads address and type, getsockname(2) and getsockopt(2).
    pub(super) fn of(fd: &OwnedFd) -> Result<Endpoint, Unfit> {
        let kind = match getsockopt(fd, sockopt::SockType) {
            Ok(kind) => kind,
            Err(Errno::ENOTSOCK) => {
                return Ok(Endpoint {
                    address: BoundAddress::Nameless, // a FIFO or a special file
                    kind: None,
                });
            }
            Err(errno) => return Err(Unfit::Unreadable(errno)),
        };
        let connects = matches!(kind, SockType::Stream | SockType::SeqPacket);
        if connects
            && !getsockopt(fd, sockopt::AcceptConn).map_err(Unfit::Unreadable)?
            && !listens_again(fd)
        {
            return Err(Unfit::Connection);
        }
        Ok(Endpoint {
            address: BoundAddress::of(fd).map_err(Unfit::Unreadable)?,
            kind: Some(kind),
        })
    }

    /// Whether this is the socket that a spec for `wanted` would bind. IPv4's "every address" is
    /// served by an IPv6 socket that takes both, too: binding beside it would fail.
    pub(super) fn serves(&self, wanted: SocketAddr, udp: bool) -> bool {
        let BoundAddress::Ip { address, both } = &self.address else {
            return false;
        };
        let kind = kind_of(udp);
        if self.kind != Some(kind) || address.port() != wanted.port() {
            return false;
        }
        let any = wanted.is_ipv4() && wanted.ip().is_unspecified();
        address.ip() == wanted.ip() || (any && *both && address.ip().is_unspecified())
    }

    /// The address of this socket, if a socket for `wanted` cannot be bound beside it: the same port of the
    /// same protocol, where one of the two is for every address.
    pub(super) fn clash(&self, wanted: SocketAddr, udp: bool) -> Option<SocketAddr> {
        let BoundAddress::Ip { address, both } = self.address else {
            return None;
        };
        let kind = kind_of(udp);
        let same_port = self.kind == Some(kind) && address.port() == wanted.port();
        let same_family = address.is_ipv4() == wanted.is_ipv4() || both;
        let for_all = address.ip().is_unspecified() || wanted.ip().is_unspecified();
        (same_port && same_family && (for_all || address.ip() == wanted.ip())).then_some(address)
    }

    /// Whether this is the unix stream socket at `path`. Its file has to exist: without it no client can
    /// connect.
    pub(super) fn serves_path(&self, path: &Path) -> bool {
        let BoundAddress::Path(own) = &self.address else {
            return false;
        };
        let same = own == path || std::path::absolute(path).is_ok_and(|path| path == *own);
        let is_there = || std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        self.kind == Some(SockType::Stream) && same && is_there()
    }

    /// Whether this is a unix stream socket that was bound to exactly this path, whether its file exists or
    /// not. A relative path names another file in another directory.
    pub(super) fn was_bound_to(&self, path: &Path) -> bool {
        let BoundAddress::Path(own) = &self.address else {
            return false;
        };
        self.kind == Some(SockType::Stream) && own.is_absolute() && own == path
    }

    /// The key of a socket that no option named: `P` for IPv4's "every address", `HOST:P`,
    /// `[V6]:P`, a path, `@ABSTRACT`; `None` if it has no such address.
    pub(super) fn key(&self) -> Option<OsString> {
        match &self.address {
            BoundAddress::Ip {
                address: SocketAddr::V4(v4),
                ..
            } if v4.ip().is_unspecified() => Some(v4.port().to_string().into()),
            BoundAddress::Ip { address, .. } => Some(address.to_string().into()),
            BoundAddress::Path(path) => Some(path.clone().into()),
            BoundAddress::Abstract(name) => {
                let key: Vec<u8> = [b"@", name.as_slice()].concat();
                Some(OsString::from_vec(key))
            }
            BoundAddress::Nameless => None,
        }
        .filter(|key| !key.as_bytes().iter().any(|b| matches!(b, b';' | b'=' | 0)))
    }
}

fn kind_of(udp: bool) -> SockType {
    match udp {
        true => SockType::Datagram,
        false => SockType::Stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, SockFlag, UnixAddr, bind, listen, socket};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn of(fd: impl Into<OwnedFd>) -> Endpoint {
        Endpoint::of(&fd.into()).unwrap()
    }

    #[test]
    fn socket_serves_its_own_address_and_type() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = of(listener);
        assert!(endpoint.serves(address, false));
        assert!(!endpoint.serves(address, true), "TCP is not UDP");
        assert!(!endpoint.serves(([127, 0, 0, 2], address.port()).into(), false));
        assert!(!endpoint.serves(([0, 0, 0, 0], address.port()).into(), false));
        assert_eq!(endpoint.key().unwrap(), *address.to_string());
    }

    #[test]
    fn dual_stack_socket_serves_the_bare_port() {
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            return eprintln!("SKIPPED: no IPv6 here");
        };
        let port = listener.local_addr().unwrap().port();
        let endpoint = of(listener);
        assert!(endpoint.serves(([0, 0, 0, 0], port).into(), false));
        assert!(!endpoint.serves(([127, 0, 0, 1], port).into(), false));
    }

    #[test]
    fn socket_for_every_address_clashes_with_one_for_a_single_address() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = of(listener);
        let port = address.port();
        assert_eq!(
            endpoint.clash(([127, 0, 0, 1], port).into(), false),
            Some(address)
        );
        assert_eq!(endpoint.clash(([127, 0, 0, 1], port).into(), true), None);
        assert_eq!(endpoint.clash(([0_u16; 8], port).into(), false), None);
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            return eprintln!("SKIPPED: no IPv6 here");
        };
        let address = listener.local_addr().unwrap();
        let wanted = ([127, 0, 0, 1], address.port()).into();
        assert_eq!(of(listener).clash(wanted, false), Some(address));
    }

    #[test]
    fn every_kind_of_socket_has_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endpoint = of(UnixListener::bind(&path).unwrap());
        assert!(endpoint.serves_path(&path));
        assert_eq!(endpoint.key().unwrap(), path);
        let packets = dir.path().join("packets");
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::empty(),
            None,
        )
        .unwrap();
        bind(fd.as_raw_fd(), &UnixAddr::new(&packets).unwrap()).unwrap();
        listen(&fd, Backlog::MAXCONN).unwrap();
        let endpoint = of(fd);
        assert!(
            !endpoint.serves_path(&packets),
            "its clients expect a stream"
        );
        assert_eq!(endpoint.key().unwrap(), packets);
        let odd = dir.path().join("a=b");
        assert_eq!(of(UnixListener::bind(&odd).unwrap()).key(), None);
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        assert_eq!(of(udp).key().unwrap(), *port.to_string());
        assert_eq!(of(std::fs::File::open("/dev/null").unwrap()).key(), None);
    }

    #[test]
    fn connection_is_not_a_listening_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(Endpoint::of(&stream.into()), Err(Unfit::Connection));
    }
}
