//! Opens listening sockets again that a worker has shut down, or whose file was removed.
//!
//! shutdown(2) works on the socket and not on a descriptor: a worker that shuts its listener down when it
//! ends (WEBrick does) ends it for every generation. An epoll instance that asks for no events still reports
//! EPOLLHUP, epoll_ctl(2), and never wakes this process for a connection. A TCP socket listens again after
//! listen(2). A unix socket or a UDP socket does not: a new socket at the same address takes its place. The
//! current workers do not have the new one, so a new generation has to follow; also if the file of a unix
//! socket was removed, since without it no client finds the socket.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage};
use nix::sys::socket::{bind as bind_to, getsockname};
use nix::sys::socket::{getsockopt, sockopt};

use super::socket::{Socket, Sockets};
use super::unix_path::PathAccess;
use super::{bind, unix_path};
use crate::error::DisplayIoError;
use crate::files::RemovalWatch;
use crate::sys;

/// Watches the sockets, and opens again those that were shut down or have lost their file.
pub(crate) struct Reopener {
    epoll: Option<Epoll>,
    /// The address of each socket at the start.
    addresses: Vec<Option<SockaddrStorage>>,
    /// The files of unix sockets; `None` if they cannot be watched.
    files: Option<RemovalWatch>,
    /// Sockets whose file was removed and could not be created again yet.
    fileless: Vec<usize>,
    access: PathAccess,
    backlog: u32,
}

/// A socket that was shut down or has lost its file, and what was done about it.
pub(crate) struct Reopened {
    pub(crate) key: OsString,
    pub(crate) cause: ReopenCause,
    /// Its index in [`Sockets`].
    pub(crate) index: usize,
    pub(crate) outcome: ReopenOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReopenCause {
    /// A worker has called shutdown(2).
    ShutDown,
    /// Another program has removed the file of a unix socket.
    FileRemoved,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReopenOutcome {
    /// The same socket listens again. Workers that still poll it get connections.
    ListensAgain,
    /// A new socket has its address and its descriptor number. Only later workers have it.
    Replaced,
    /// It could not be opened again, for this reason.
    Lost(String),
}

impl Reopener {
    /// Starts to watch `sockets`. The descriptor of the watch is `min_fd` or higher. If epoll_create1(2) fails,
    /// shutdown(2) is not noticed, and a warning is logged.
    pub(crate) fn new(
        sockets: &Sockets,
        access: PathAccess,
        backlog: u32,
        min_fd: RawFd,
    ) -> Reopener {
        // listen(2) cuts the backlog down to the system's maximum.
        let backlog = if backlog == 0 { u32::MAX } else { backlog };
        let epoll = create_epoll(min_fd)
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
        let ours = socket.is_bound() || socket.state.stored;
        if let (true, Some(files), Some(Reopenable::Unix(path))) =
            (ours, &mut self.files, Reopenable::of(&socket.fd))
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
        let event = EpollEvent::new(EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP, at as u64);
        if let Err(errno) = epoll.add(&socket.fd, event) {
            let key = socket.state.key.to_string_lossy();
            tracing::warn!(
                "{key} is not watched for shutdown(2): {}",
                crate::error::why(errno)
            );
        }
    }

    /// Descriptors that become readable when [`reopen`](Reopener::reopen) has something to do.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let epoll = self.epoll.as_ref().map(|epoll| epoll.0.as_fd());
        let files = self.files.as_ref().map(AsFd::as_fd);
        epoll.into_iter().chain(files)
    }

    /// Opens the sockets again that were shut down, or have lost their file, since the last call.
    pub(crate) fn reopen(&mut self, sockets: &mut Sockets) -> Vec<Reopened> {
        let mut found = self.shut_down();
        let touched = self
            .files
            .as_ref()
            .map(RemovalWatch::touched)
            .unwrap_or_default();
        found.extend(touched.into_iter().map(|at| (at, ReopenCause::FileRemoved)));
        self.reopen_all(found, sockets)
    }

    /// Tries the sockets again whose file could not be created.
    pub(crate) fn retry(&mut self, sockets: &mut Sockets) -> Vec<Reopened> {
        let fileless = std::mem::take(&mut self.fileless);
        let again = fileless
            .into_iter()
            .map(|at| (at, ReopenCause::FileRemoved));
        self.reopen_all(again.collect(), sockets)
    }

    /// The sockets that were shut down since the last call.
    fn shut_down(&self) -> Vec<(usize, ReopenCause)> {
        let Some(epoll) = &self.epoll else {
            return Vec::new();
        };
        let mut events = [EpollEvent::empty(); 16];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let hung_up = |event: &&EpollEvent| {
            let ended = EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP;
            event.events().intersects(ended)
        };
        let indexes = events
            .iter()
            .take(count)
            .filter(hung_up)
            .map(EpollEvent::data);
        let indexes = indexes.filter_map(|index| usize::try_from(index).ok());
        indexes
            .map(|index| (index, ReopenCause::ShutDown))
            .collect()
    }

    fn reopen_all(
        &mut self,
        found: Vec<(usize, ReopenCause)>,
        sockets: &mut Sockets,
    ) -> Vec<Reopened> {
        let mut reopened = Vec::new();
        for (index, cause) in found {
            let Some(socket) = sockets.list.get_mut(index) else {
                continue;
            };
            if cause == ReopenCause::FileRemoved && has_file(socket) {
                continue; // its mode was changed, or the socket was replaced since
            }
            let outcome = self.reopen_one(index, socket);
            if let (ReopenCause::FileRemoved, ReopenOutcome::Lost(_)) = (cause, &outcome) {
                self.fileless.push(index);
            }
            reopened.push(Reopened {
                key: socket.state.key.clone(),
                cause,
                index,
                outcome,
            });
        }
        reopened
    }

    fn reopen_one(&mut self, at: usize, socket: &mut Socket) -> ReopenOutcome {
        let address = match Reopenable::of(&socket.fd) {
            Some(Reopenable::Tcp) if self.listen_again(at, &socket.fd) => {
                return ReopenOutcome::ListensAgain;
            }
            address => address,
        };
        match self.replace(at, socket, address) {
            Ok(()) => ReopenOutcome::Replaced,
            Err(why) => ReopenOutcome::Lost(why),
        }
    }

    fn listen_again(&self, at: usize, fd: &OwnedFd) -> bool {
        // shutdown(2) removes the address if the kernel has chosen the port. Otherwise the address stays, and
        // bind(2) fails with EINVAL.
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
        address: Option<Reopenable>,
    ) -> Result<(), String> {
        if !socket.is_bound() && !socket.state.stored {
            return Err(
                "systemd holds it; restart its .socket unit and the service together".to_owned(),
            );
        }
        let text = |e: io::Error| DisplayIoError(&e).to_string();
        let new = match address {
            Some(Reopenable::Udp) => bind::again(&socket.fd).map_err(text)?,
            Some(Reopenable::Unix(path)) => {
                let bound = unix_path::bind(&path, &self.access, self.backlog);
                let (fd, made) = bound.map_err(|e| e.to_string())?;
                match &mut socket.file {
                    Some(file) => *file = made, // the old file is gone
                    None => made.leave(),       // the fd store keeps the socket
                }
                fd
            }
            Some(Reopenable::Tcp) | None => return Err("it does not listen again".to_owned()),
        };
        if let Some(epoll) = &self.epoll {
            // Workers have the old socket open, so closing this descriptor does not remove it from epoll.
            let _ = epoll.delete(&socket.fd);
        }
        sys::fd::replace(new, &mut socket.fd).map_err(text)?;
        self.watch(at, socket);
        Ok(())
    }
}

/// The kinds of socket that can be opened again.
enum Reopenable {
    Tcp,
    Udp,
    /// A unix stream socket with a file.
    Unix(PathBuf),
}

impl Reopenable {
    fn of(fd: &OwnedFd) -> Option<Reopenable> {
        let kind = getsockopt(fd, sockopt::SockType).ok()?;
        let name: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
        match (name.family()?, kind) {
            (AddressFamily::Inet | AddressFamily::Inet6, SockType::Stream) => Some(Reopenable::Tcp),
            (AddressFamily::Inet | AddressFamily::Inet6, SockType::Datagram) => {
                Some(Reopenable::Udp)
            }
            (AddressFamily::Unix, SockType::Stream) => {
                let path = name.as_unix_addr()?.path()?;
                Some(Reopenable::Unix(path.to_owned()))
            }
            _ => None,
        }
    }
}

/// Whether the file of a unix socket is the one that was created for it. For a socket from the fd store,
/// whose file an earlier supervisor has created, any file will do. `true` for other sockets.
fn has_file(socket: &Socket) -> bool {
    match (&socket.file, Reopenable::of(&socket.fd)) {
        (Some(file), _) => file.is_there(),
        (None, Some(Reopenable::Unix(path))) => path.symlink_metadata().is_ok(),
        (None, _) => true,
    }
}

/// Whether shutdown(2) can end a socket: not FIFOs and netlink sockets.
fn can_be_shut_down(fd: &OwnedFd) -> bool {
    let name: nix::Result<SockaddrStorage> = getsockname(fd.as_raw_fd());
    let family = name.ok().and_then(|name| name.family());
    matches!(
        family,
        Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix)
    )
}

fn create_epoll(min_fd: RawFd) -> io::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    sys::fd::move_above(epoll.0, min_fd).map(Epoll)
}

#[cfg(test)]
mod tests;
