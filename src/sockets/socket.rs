//! The open sockets, and their saved form for the next program in this process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{SockType, getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::unix_path::{SocketFile, UnixPath};
use crate::sys;
use crate::sys::reexec::FdSet;

/// The first descriptor number of a socket, as in sd_listen_fds(3).
pub(crate) const FIRST_FD: RawFd = 3;

/// The sockets, on the descriptor numbers that workers get. A start of a worker only has to clear their
/// close-on-exec flags.
pub(crate) struct Sockets {
    /// In the order in which workers see them: ports, then paths, then those that were inherited and no option
    /// named.
    pub(super) list: Vec<Socket>,
}

pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    /// The file of a unix socket that was bound or taken over here. Dropping it removes the file.
    pub(super) file: Option<UnixPath>,
    pub(super) state: State,
}

/// What is saved of a socket, besides its descriptor and its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) key: OsString,
    /// Its name from systemd; empty if it has none.
    pub(super) fd_name: OsString,
    pub(super) origin: Origin,
    /// systemd's fd store keeps it, under a name that this program has given.
    pub(super) stored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Origin {
    Inherited,
    /// Bound by this program, or taken over from a supervisor that was killed.
    Bound {
        datagram: bool,
    },
}

/// A socket, as saved for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedSocket {
    fd: RawFd,
    file: Option<SocketFile>,
    state: State,
}

impl Socket {
    pub(super) fn is_bound(&self) -> bool {
        matches!(self.state.origin, Origin::Bound { .. })
    }
}

impl Sockets {
    /// The descriptor numbers, in order.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.list.iter().map(|s| s.fd.as_raw_fd()).collect()
    }

    /// The number of sockets that were bound here.
    pub(crate) fn bound(&self) -> usize {
        self.list.iter().filter(|s| s.is_bound()).count()
    }

    /// Gives the sockets that were bound here to `store`: key, whether it is a datagram socket, descriptor.
    /// `store` returns how many it has stored, from the first on. The files of these stay when this process
    /// ends.
    pub(crate) fn store_bound<F>(&mut self, store: F)
    where
        F: FnOnce(std::vec::IntoIter<(&OsStr, bool, BorrowedFd<'_>)>) -> usize,
    {
        let bound = self.list.iter().filter_map(|s| match s.state.origin {
            Origin::Inherited => None,
            Origin::Bound { datagram } => Some((s.state.key.as_os_str(), datagram, s.fd.as_fd())),
        });
        let count = store(bound.collect::<Vec<_>>().into_iter());
        for socket in self.list.iter_mut().filter(|s| s.is_bound()).take(count) {
            socket.state.stored = true;
            socket.file.take().into_iter().for_each(UnixPath::leave);
        }
    }

    /// The key, whether it is a datagram socket, and the descriptor of a socket that the fd store keeps.
    pub(crate) fn stored(&self, index: usize) -> Option<(&OsStr, bool, BorrowedFd<'_>)> {
        let socket = self.list.get(index).filter(|socket| socket.state.stored)?;
        let kind = getsockopt(&socket.fd, sockopt::SockType).ok()?;
        let datagram = kind == SockType::Datagram;
        Some((&socket.state.key, datagram, socket.fd.as_fd()))
    }

    /// Sets whether the files of unix sockets that were taken over stay when this process ends: as long as
    /// the start may fail, or if their workers are left behind.
    pub(crate) fn keep_taken_files(&mut self, keep: bool) {
        let files = self.list.iter_mut().filter_map(|s| s.file.as_mut());
        files.for_each(|file| file.keep_if_taken(keep));
    }

    /// Whether a socket is on standard input, as with inetd(8).
    pub(crate) fn on_stdin(&self) -> bool {
        self.numbers().contains(&libc::STDIN_FILENO)
    }

    /// Keeps the sockets open for the next program in this process.
    pub(crate) fn save(&self, fds: &mut FdSet) -> Vec<SavedSocket> {
        let saved = self.list.iter().map(|socket| SavedSocket {
            fd: fds.keep(&socket.fd),
            file: socket.file.as_ref().map(UnixPath::save),
            state: socket.state.clone(),
        });
        saved.collect()
    }

    /// Adopts the sockets that the previous program in this process has saved.
    pub(crate) fn resume(saved: Vec<SavedSocket>) -> io::Result<Sockets> {
        let list = saved.into_iter().map(|socket| {
            Ok(Socket {
                fd: sys::fd::adopt(socket.fd)?,
                file: socket.file.map(UnixPath::resume),
                state: socket.state,
            })
        });
        let list: io::Result<_> = list.collect();
        Ok(Sockets { list: list? })
    }
}
