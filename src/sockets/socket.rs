//! The open sockets, and their saved form for the next program in this process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{SockType, getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::unix_path::{SavedPath, UnixPath};
use crate::sys;
use crate::sys::reexec::FdSet;

/// The sockets, on the descriptor numbers that workers get. A start of a worker only has to clear their close-on-exec
/// flags.
pub(crate) struct Sockets {
    /// In the order in which workers see them: ports, then paths, then those that were inherited
    /// and no option named.
    pub(super) list: Vec<Socket>,
}

pub(super) struct Socket {
    pub(super) key: OsString,
    /// Its name from systemd; empty if it has none.
    pub(super) fd_name: OsString,
    pub(super) fd: OwnedFd,
    pub(super) origin: Origin,
    /// systemd's fd store keeps it, under a name that this program has given.
    pub(super) stored: bool,
}

pub(super) enum Origin {
    Inherited,
    /// Bound by this program. Dropping `path` removes the socket's file.
    Bound {
        datagram: bool,
        path: Option<UnixPath>,
    },
}

impl Sockets {
    /// The descriptor numbers, in order.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.list.iter().map(|s| s.fd.as_raw_fd()).collect()
    }

    /// The number of sockets that were bound here.
    pub(crate) fn bound(&self) -> usize {
        let bound = |socket: &&Socket| matches!(socket.origin, Origin::Bound { .. });
        self.list.iter().filter(bound).count()
    }

    /// Gives the sockets that were bound here to `keep`: key, whether it is a datagram socket, descriptor. `keep` returns
    /// how many it has kept, from the first on. The files of these stay at the end.
    pub(crate) fn keep_bound<F>(&mut self, keep: F)
    where
        F: FnOnce(std::vec::IntoIter<(&OsStr, bool, BorrowedFd<'_>)>) -> usize,
    {
        let bound = self.list.iter().filter_map(|socket| match &socket.origin {
            Origin::Inherited => None,
            Origin::Bound { datagram, .. } => {
                Some((socket.key.as_os_str(), *datagram, socket.fd.as_fd()))
            }
        });
        let kept = keep(bound.collect::<Vec<_>>().into_iter());
        let bound = self
            .list
            .iter_mut()
            .filter(|socket| matches!(socket.origin, Origin::Bound { .. }));
        for socket in bound.take(kept) {
            socket.stored = true;
            if let Origin::Bound { path, .. } = &mut socket.origin {
                path.take().into_iter().for_each(UnixPath::leave);
            }
        }
    }

    /// The key, whether it is a datagram socket, and the descriptor of a socket that the fd store keeps.
    pub(crate) fn stored(&self, index: usize) -> Option<(&OsStr, bool, BorrowedFd<'_>)> {
        let socket = self.list.get(index).filter(|socket| socket.stored)?;
        let kind = getsockopt(&socket.fd, sockopt::SockType).ok()?;
        Some((&socket.key, kind == SockType::Datagram, socket.fd.as_fd()))
    }

    /// Sets whether the files of unix sockets that were taken over stay at the end: as long as the start may fail, or if
    /// their workers are left behind.
    pub(crate) fn leave_taken_files(&mut self, stay: bool) {
        for socket in &mut self.list {
            if let Origin::Bound {
                path: Some(path), ..
            } = &mut socket.origin
            {
                path.set_stays(stay);
            }
        }
    }

    /// Whether a socket is on standard input, as with inetd(8).
    pub(crate) fn on_stdin(&self) -> bool {
        self.numbers().contains(&libc::STDIN_FILENO)
    }
}

/// A socket on its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedSocket {
    key: OsString,
    fd_name: OsString,
    fd: RawFd,
    origin: SavedOrigin,
    stored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum SavedOrigin {
    Inherited,
    Bound {
        datagram: bool,
        path: Option<SavedPath>,
    },
}

impl Sockets {
    pub(crate) fn save(&self, fds: &mut FdSet) -> Vec<SavedSocket> {
        let saved = self.list.iter().map(|socket| SavedSocket {
            key: socket.key.clone(),
            fd_name: socket.fd_name.clone(),
            fd: fds.keep(&socket.fd),
            origin: match &socket.origin {
                Origin::Inherited => SavedOrigin::Inherited,
                Origin::Bound { datagram, path } => SavedOrigin::Bound {
                    datagram: *datagram,
                    path: path.as_ref().map(UnixPath::save),
                },
            },
            stored: socket.stored,
        });
        saved.collect()
    }

    pub(crate) fn resume(saved: Vec<SavedSocket>) -> io::Result<Sockets> {
        let list = saved.into_iter().map(|socket| {
            Ok(Socket {
                key: socket.key,
                fd_name: socket.fd_name,
                fd: sys::fd::adopt(socket.fd)?,
                origin: match socket.origin {
                    SavedOrigin::Inherited => Origin::Inherited,
                    SavedOrigin::Bound { datagram, path } => Origin::Bound {
                        datagram,
                        path: path.map(UnixPath::resume),
                    },
                },
                stored: socket.stored,
            })
        });
        let list: io::Result<_> = list.collect();
        Ok(Sockets { list: list? })
    }
}
