//! Listening sockets that a worker has shut down: noticed at once, and opened again.
//!
//! shutdown(2) works on the socket and not on a descriptor, so one worker that shuts its listener down on its
//! way out (WEBrick does) ends it for every generation. An epoll instance that asks for no events
//! still reports EPOLLHUP, epoll_ctl(2), and never wakes this process for a connection. A TCP socket
//! listens again after listen(2). A unix socket and a UDP socket do not: they need a new socket at
//! the same address, which the current workers do not have, so a new generation has to follow. So does one
//! when something else removes the file of a unix socket: no client finds the socket any more.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage};
use nix::sys::socket::{bind as bind_to, getsockname};
use nix::sys::socket::{getsockopt, sockopt};

use super::socket::{Origin, Socket, Sockets};
use super::unix_path::PathAccess;
use super::{bind, unix_path};
use crate::error::DisplayIoError;
use crate::files::RemovalWatch;
use crate::sys;

/// What is done to a socket that was shut down.
pub(crate) struct Reopener {
    epoll: Option<Epoll>,
    /// What each socket was bound to at the start.
    addresses: Vec<Option<SockaddrStorage>>,
    /// The files of unix sockets; `None` if they cannot be watched.
    files: Option<RemovalWatch>,
    /// Sockets whose file was removed and could not be made again yet.
    fileless: Vec<usize>,
    access: PathAccess,
    backlog: u32,
}

/// What has become of a socket that was shut down.
pub(crate) struct ShutDown {
    pub(crate) key: OsString,
    pub(crate) cause: Cause,
    /// Its place among the sockets.
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A worker has called shutdown(2).
    ShutDown,
    /// Something else has removed the file of a unix socket.
    FileRemoved,
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
        let mut reopener = Reopener {
            epoll,
            addresses: sockets.list.iter().map(address).collect(),
            files: RemovalWatch::new(),
            fileless: Vec::new(),
            access,
            backlog,
        };
        for (at, socket) in sockets.list.iter().enumerate() {
            reopener.watch(at, socket);
        }
        reopener
    }

    fn watch_file(&mut self, at: usize, socket: &Socket) {
        let ours = matches!(socket.origin, Origin::Bound { .. }) || socket.stored;
        if let (true, Some(files), Some(Address::Path(path))) =
            (ours, &mut self.files, Address::of(&socket.fd))
        {
            files.watch(at, &path);
        }
    }

    fn watch(&mut self, at: usize, socket: &Socket) {
        self.watch_file(at, socket);
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

    /// Readable when there is something for [`reopen`](Reopener::reopen) to do.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let epoll = self.epoll.as_ref().map(|epoll| epoll.0.as_fd());
        let files = self.files.as_ref().map(AsFd::as_fd);
        epoll.into_iter().chain(files)
    }

    /// Opens the sockets again that have been shut down, or have lost their file, since the last call.
    pub(crate) fn reopen(&mut self, sockets: &mut Sockets) -> Vec<ShutDown> {
        let mut found = self.shut_down();
        let touched = self
            .files
            .as_ref()
            .map(RemovalWatch::touched)
            .unwrap_or_default();
        found.extend(touched.into_iter().map(|at| (at, Cause::FileRemoved)));
        self.reopen_all(found, sockets)
    }

    /// Tries those again whose file could not be made.
    pub(crate) fn retry(&mut self, sockets: &mut Sockets) -> Vec<ShutDown> {
        let fileless = std::mem::take(&mut self.fileless);
        let again = fileless.into_iter().map(|at| (at, Cause::FileRemoved));
        self.reopen_all(again.collect(), sockets)
    }

    fn shut_down(&self) -> Vec<(usize, Cause)> {
        let Some(epoll) = &self.epoll else {
            return Vec::new();
        };
        let mut events = [EpollEvent::empty(); 16];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let hung_up = |event: &&EpollEvent| event.events().contains(EpollFlags::EPOLLHUP);
        let hung_up = events.iter().take(count).filter(hung_up);
        hung_up
            .filter_map(|event| Some((usize::try_from(event.data()).ok()?, Cause::ShutDown)))
            .collect()
    }

    fn reopen_all(&mut self, found: Vec<(usize, Cause)>, sockets: &mut Sockets) -> Vec<ShutDown> {
        let mut reopened = Vec::new();
        for (index, cause) in found {
            let Some(socket) = sockets.list.get_mut(index) else {
                continue;
            };
            if cause == Cause::FileRemoved && has_file(socket) {
                continue; // its mode was changed, or it has been replaced since
            }
            let outcome = self.reopen_one(index, socket);
            if let (Cause::FileRemoved, Outcome::Lost(_)) = (cause, &outcome) {
                self.fileless.push(index);
            }
            reopened.push(ShutDown {
                key: socket.key.clone(),
                cause,
                index,
                outcome,
            });
        }
        reopened
    }

    fn reopen_one(&mut self, at: usize, socket: &mut Socket) -> Outcome {
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
        &mut self,
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

/// Whether the file of a unix socket is the one that was made for it. A file that the fd store keeps was
/// made by an earlier supervisor, and any is taken for it.
fn has_file(socket: &Socket) -> bool {
    match (&socket.origin, Address::of(&socket.fd)) {
        (
            Origin::Bound {
                path: Some(file), ..
            },
            _,
        ) => file.is_there(),
        (_, Some(Address::Path(path))) => path.symlink_metadata().is_ok(),
        _ => true,
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
    sys::fd::move_above(epoll.0, min_fd).map(Epoll)
}

#[cfg(test)]
mod tests;
