//! The listening sockets: parsed from the command line, bound once, held for ever, told to
//! workers.

mod address;
mod bind;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inherit;
mod matching;
mod plan;
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

/// The first descriptor number that is handed out, as in sd_listen_fds(3).
pub(crate) const FIRST_FD: RawFd = 3;

/// The sockets, parked on the numbers on which workers find them, so that a spawn has nothing to
/// do for a socket but clear its close-on-exec flag.
pub(crate) struct Sockets {
    /// In the order in which workers see them: ports, then paths, then those that were inherited
    /// and no option named.
    list: Vec<Socket>,
}

struct Socket {
    key: OsString,
    /// What systemd calls it; empty if it does not.
    fd_name: OsString,
    fd: OwnedFd,
    origin: Origin,
    /// systemd's fd store keeps it, under a name of ours.
    stored: bool,
}

enum Origin {
    Inherited,
    /// By us. Dropping the path removes the socket's file.
    Bound {
        datagram: bool,
        path: Option<UnixPath>,
    },
}

impl Sockets {
    /// The numbers they are parked on, in order.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.list.iter().map(|s| s.fd.as_raw_fd()).collect()
    }

    /// How many were bound here, and not inherited.
    pub(crate) fn bound(&self) -> usize {
        let bound = |socket: &&Socket| matches!(socket.origin, Origin::Bound { .. });
        self.list.iter().filter(bound).count()
    }

    /// Has the sockets that we bound kept by `keep`, which is given their keys, whether they are
    /// datagram sockets, and their descriptors, and says how many it has kept. Their files stay
    /// when we go.
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

    /// Whether the files of unix sockets that were taken over stay when we go: as long as the start
    /// may fail, or if their workers are left behind.
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

    /// Whether one of them sits on standard input, as inetd(8) has it.
    pub(crate) fn on_stdin(&self) -> bool {
        self.numbers().contains(&libc::STDIN_FILENO)
    }
}

/// Refuses what cannot be had as a whole: two sockets on one number, one address twice.
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
