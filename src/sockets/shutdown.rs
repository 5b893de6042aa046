//! Listening sockets that a worker has shut down: noticed at once, and opened again.
//!
//! shutdown(2) works on the socket and not on a descriptor, so one worker that shuts its listener down on its
//! way out (WEBrick does) ends it for every generation. An epoll instance that asks for no events
//! still reports EPOLLHUP, epoll_ctl(2), and never wakes this process for a connection. A TCP socket
//! listens again after listen(2). A unix socket and a UDP socket do not: they need a new socket at
//! the same address, which the current workers do not have, so a new generation has to follow.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage};
use nix::sys::socket::{bind as bind_to, getsockname};
use nix::sys::socket::{getsockopt, sockopt};

use super::unix_path::PathAccess;
use super::{Origin, Socket, Sockets, bind, unix_path};
use crate::error::DisplayIoError;
use crate::sys;

/// What is done to a socket that was shut down.
pub(crate) struct Reopener {
    epoll: Option<Epoll>,
    /// What each socket was bound to at the start.
    addresses: Vec<Option<SockaddrStorage>>,
    access: PathAccess,
    backlog: u32,
}

/// What has become of a socket that was shut down.
pub(crate) struct ShutDown {
    pub(crate) key: OsString,
    /// Its place among the sockets.
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same socket listens again. Workers that still wait for it get connections.
    ListensAgain,
    /// A new socket has its address and its descriptor number. Only later workers get it.
    Replaced,
    /// It could not be opened again, for this reason.
    Lost(String),
}

impl Reopener {
    /// Begins to watch `sockets`. The descriptor of the watch is `min_fd` or higher. Without epoll
    /// nothing is watched, which is logged.
    pub(crate) fn new(
        sockets: &Sockets,
        access: PathAccess,
        backlog: u32,
        min_fd: RawFd,
    ) -> Reopener {
        // 0 and "more than the system allows" are the same to listen(2).
        let backlog = if backlog == 0 { u32::MAX } else { backlog };
        let epoll = open(min_fd)
            .inspect_err(|e| {
                tracing::warn!(
                    "sockets are not watched for shutdown(2): {}",
                    DisplayIoError(e)
                )
            })
            .ok();
        let address = |socket: &Socket| getsockname(socket.fd.as_raw_fd()).ok();
        let reopener = Reopener {
            epoll,
            addresses: sockets.list.iter().map(address).collect(),
            access,
            backlog,
        };
        for (at, socket) in sockets.list.iter().enumerate() {
            reopener.watch(at, socket);
        }
        reopener
    }

    fn watch(&self, at: usize, socket: &Socket) {
        let Some(epoll) = self.epoll.as_ref().filter(|_| can_be_shut_down(&socket.fd)) else {
            return;
        };
        // Edge-triggered, so that a socket that stays shut down is reported once.
        let event = EpollEvent::new(EpollFlags::EPOLLET, at as u64);
        if let Err(errno) = epoll.add(&socket.fd, event) {
            let key = socket.key.to_string_lossy();
            tracing::warn!(
                "{key} is not watched for shutdown(2): {}",
                crate::error::why(errno)
            );
        }
    }

    /// Readable when a socket has been shut down.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(|epoll| epoll.0.as_fd())
    }

    /// Opens the sockets again that have been shut down since the last call.
    pub(crate) fn reopen(&self, sockets: &mut Sockets) -> Vec<ShutDown> {
        let Some(epoll) = &self.epoll else {
            return Vec::new();
        };
        let mut events = [EpollEvent::empty(); 16];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let hung_up = |event: &&EpollEvent| event.events().contains(EpollFlags::EPOLLHUP);
        let hung_up = events.iter().take(count).filter(hung_up);
        hung_up
            .filter_map(|event| {
                let at = usize::try_from(event.data()).ok()?;
                let socket = sockets.list.get_mut(at)?;
                let outcome = self.reopen_one(at, socket);
                Some(ShutDown {
                    key: socket.key.clone(),
                    index: at,
                    outcome,
                })
            })
            .collect()
    }

    fn reopen_one(&self, at: usize, socket: &mut Socket) -> Outcome {
        let address = match Address::of(&socket.fd) {
            Some(Address::Tcp) if self.listen_again(at, &socket.fd) => {
                return Outcome::ListensAgain;
            }
            address => address,
        };
        match self.replace(at, socket, address) {
            Ok(()) => Outcome::Replaced,
            Err(why) => Outcome::Lost(why),
        }
    }

    fn listen_again(&self, at: usize, fd: &OwnedFd) -> bool {
        // shutdown(2) takes away a port that the kernel chose. One that was asked for stays, and then the
        // socket cannot be bound again: EINVAL.
        if let Some(Some(address)) = self.addresses.get(at) {
            let _ = bind_to(fd.as_raw_fd(), address);
        }
        let address: Option<SockaddrStorage> = getsockname(fd.as_raw_fd()).ok();
        address == self.addresses.get(at).copied().flatten()
            && sys::fd::listen(fd, self.backlog).is_ok()
    }

    /// Puts a new socket with the same address on the same descriptor number.
    fn replace(
        &self,
        at: usize,
        socket: &mut Socket,
        address: Option<Address>,
    ) -> Result<(), String> {
        if matches!(socket.origin, Origin::Inherited) && !socket.stored {
            return Err(
                "systemd holds it; restart its .socket unit and the service together".to_owned(),
            );
        }
        let text = |e: io::Error| DisplayIoError(&e).to_string();
        let new = match address {
            Some(Address::Udp) => bind::again(&socket.fd).map_err(text)?,
            Some(Address::Path(path)) => {
                let bound = unix_path::bind(&path, &self.access, self.backlog);
                let (fd, made) = bound.map_err(|e| e.to_string())?;
                match &mut socket.origin {
                    Origin::Bound {
                        path: Some(file), ..
                    } => *file = made, // the old file is gone
                    _ => made.leave(), // the fd store keeps it
                }
                fd
            }
            Some(Address::Tcp) | None => return Err("it does not listen again".to_owned()),
        };
        if let Some(epoll) = &self.epoll {
            // Workers hold the old socket, so closing this descriptor does not end its registration.
            let _ = epoll.delete(&socket.fd);
        }
        sys::fd::replace(new, &mut socket.fd).map_err(text)?;
        self.watch(at, socket);
        Ok(())
    }
}

/// The kinds of socket that can be opened again.
enum Address {
    Tcp,
    Udp,
    /// A unix stream socket with a file.
    Path(PathBuf),
}

impl Address {
    fn of(fd: &OwnedFd) -> Option<Address> {
        let kind = getsockopt(fd, sockopt::SockType).ok()?;
        let name: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
        match (name.family()?, kind) {
            (AddressFamily::Inet | AddressFamily::Inet6, SockType::Stream) => Some(Address::Tcp),
            (AddressFamily::Inet | AddressFamily::Inet6, SockType::Datagram) => Some(Address::Udp),
            (AddressFamily::Unix, SockType::Stream) => {
                let path = name.as_unix_addr()?.path()?;
                Some(Address::Path(path.to_owned()))
            }
            _ => None,
        }
    }
}

/// FIFOs and netlink sockets cannot be.
fn can_be_shut_down(fd: &OwnedFd) -> bool {
    let name: nix::Result<SockaddrStorage> = getsockname(fd.as_raw_fd());
    let family = name.ok().and_then(|name| name.family());
    matches!(
        family,
        Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix)
    )
}

fn open(min_fd: RawFd) -> io::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    sys::fd::raise(epoll.0, min_fd).map(Epoll)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    fn watched(fd: OwnedFd, origin: Origin) -> (Sockets, Reopener) {
        let socket = Socket {
            key: "key".into(),
            fd_name: OsString::new(),
            fd,
            origin,
            stored: false,
        };
        let sockets = Sockets { list: vec![socket] };
        let reopener = Reopener::new(&sockets, PathAccess::default(), 0, 0);
        (sockets, reopener)
    }

    fn bound(fd: impl Into<OwnedFd>) -> (Sockets, Reopener) {
        let origin = Origin::Bound {
            datagram: false,
            path: None,
        };
        watched(fd.into(), origin)
    }

    fn outcomes(sockets: &mut Sockets, reopener: &Reopener) -> Vec<Outcome> {
        let shut_down = reopener.reopen(sockets);
        shut_down.into_iter().map(|s| s.outcome).collect()
    }

    fn is_readable(reopener: &Reopener) -> bool {
        let mut fds = [PollFd::new(reopener.fd().unwrap(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn tcp_socket_listens_again_and_is_reported_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mut sockets, reopener) = bound(listener.try_clone().unwrap());
        for _ in 0..2 {
            assert!(!is_readable(&reopener));
            shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
            assert!(is_readable(&reopener));
            assert_eq!(outcomes(&mut sockets, &reopener), [Outcome::ListensAgain]);
            assert!(outcomes(&mut sockets, &reopener).is_empty());
            let _client = TcpStream::connect(address).unwrap();
            listener.accept().unwrap();
        }
    }

    #[test]
    fn connection_to_a_watched_socket_wakes_no_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_sockets, reopener) = bound(listener);
        let _client = TcpStream::connect(address).unwrap();
        assert!(!is_readable(&reopener));
    }

    #[test]
    fn unix_socket_is_replaced_at_its_path_and_on_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (fd, file) = unix_path::bind(&path, &PathAccess::default(), 0).unwrap();
        let number = fd.as_raw_fd();
        let origin = Origin::Bound {
            datagram: false,
            path: Some(file),
        };
        let (mut sockets, reopener) = watched(fd, origin);
        for _ in 0..2 {
            // Workers hold it too, so it stays open.
            let current = sockets.list[0].fd.try_clone().unwrap();
            shutdown(current.as_raw_fd(), Shutdown::Both).unwrap();
            assert_eq!(outcomes(&mut sockets, &reopener), [Outcome::Replaced]);
            assert_eq!(sockets.list[0].fd.as_raw_fd(), number);
            let _client = UnixStream::connect(&path).unwrap();
            assert!(outcomes(&mut sockets, &reopener).is_empty());
        }
        drop(sockets);
        assert!(!path.exists(), "the file of the replacement is removed too");
    }

    #[test]
    fn udp_socket_is_replaced_and_gets_the_next_datagram() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (mut sockets, reopener) = bound(socket.try_clone().unwrap());
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Both); // ENOTCONN, but it works
        assert_eq!(outcomes(&mut sockets, &reopener), [Outcome::Replaced]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", address).unwrap();
        let new = UdpSocket::from(sockets.list[0].fd.try_clone().unwrap());
        let timeout = std::time::Duration::from_secs(10);
        new.set_read_timeout(Some(timeout)).unwrap();
        assert_eq!(new.recv(&mut [0; 4]).unwrap(), 1);
    }

    #[test]
    fn unix_socket_of_systemd_is_lost_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let (mut sockets, reopener) = watched(listener.into(), Origin::Inherited);
        shutdown(sockets.list[0].fd.as_raw_fd(), Shutdown::Both).unwrap();
        let outcomes = outcomes(&mut sockets, &reopener);
        assert!(
            matches!(&outcomes[..], [Outcome::Lost(why)] if why.contains(".socket unit")),
            "{outcomes:?}"
        );
    }

    #[test]
    fn tcp_socket_of_systemd_listens_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut sockets, reopener) = watched(listener.into(), Origin::Inherited);
        shutdown(sockets.list[0].fd.as_raw_fd(), Shutdown::Both).unwrap();
        assert_eq!(outcomes(&mut sockets, &reopener), [Outcome::ListensAgain]);
    }
}
