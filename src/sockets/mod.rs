//! The listening sockets: parsed from the command line, bound or inherited once, and passed on to every worker.

mod address;
mod bind;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inherit;
mod matching;
mod plan;
mod planned;
mod reopen;
mod saved;
mod spec;
mod taken;
mod unix_path;

pub(crate) use export::ListenFds;
pub(crate) use inherit::take as take_inherited;
pub(crate) use plan::Plan;
pub(crate) use reopen::{Cause, Outcome, Reopener, ShutDown};
pub(crate) use saved::SavedSocket;
pub use spec::{AddressSpec, Host, PathSpec, PortSpec};
pub(crate) use taken::{Offer, Wanted, WantedAddress};
pub use unix_path::PathAccess;
pub(crate) use unix_path::{SavedPath, UnixPath, bind as bind_path};

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::error::Error;

/// The first descriptor number of a socket, as in sd_listen_fds(3).
pub(crate) const FIRST_FD: RawFd = 3;

/// The sockets, on the descriptor numbers that workers get. A start of a worker only has to clear their close-on-exec
/// flags.
pub(crate) struct Sockets {
    /// In the order in which workers see them: ports, then paths, then those that were inherited
    /// and no option named.
    list: Vec<Socket>,
}

struct Socket {
    key: OsString,
    /// Its name from systemd; empty if it has none.
    fd_name: OsString,
    fd: OwnedFd,
    origin: Origin,
    /// systemd's fd store keeps it, under a name that this program has given.
    stored: bool,
}

enum Origin {
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

/// Refuses two sockets on one number, and one address twice.
fn check(ports: &[PortSpec], paths: &[PathSpec]) -> Result<(), String> {
    let mut numbers = HashMap::new();
    let mut addresses = HashSet::new();
    for spec in ports {
        if let Some(fd) = spec.fd() {
            if let Some(other) = numbers.insert(fd, spec) {
                return Err(format!(
                    "--port: descriptor {fd} cannot be both {other} and {spec}"
                ));
            }
        }
        let fresh = match spec {
            PortSpec::Address(s) => s.port == 0 || addresses.insert((&s.host, s.port, s.udp)),
            PortSpec::FdName { .. } => true, // the second finds nothing left
        };
        if !fresh {
            return Err(format!("--port: {spec} is given twice"));
        }
    }
    let mut seen = HashSet::new();
    for path in paths.iter().map(PathSpec::as_path) {
        if !seen.insert(path) {
            return Err(format!("--path: {} is given twice", path.display()));
        }
    }
    Ok(())
}

/// For messages about sockets.
fn socket_error(
    action: &'static str,
    address: impl ToString,
) -> impl FnOnce(nix::errno::Errno) -> Error {
    move |errno| Error::Socket {
        action,
        address: address.to_string(),
        source: errno.into(),
    }
}
