//! A socket of the plan, before it is opened.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use crate::sockets::inherit::Inherited;
use crate::sockets::path_spec::PathSpec;
use crate::sockets::port_spec::AddressSpec;
use crate::sockets::unix_path::UnixPath;

/// A socket and the descriptor number that its option asks for.
pub(super) struct Planned {
    pub(super) source: Source,
    pub(super) asked: Option<RawFd>,
}

/// Where a socket comes from.
pub(super) enum Source {
    /// It will be bound.
    Bind(AddressSpec, SocketAddr),
    /// It will be bound to a path.
    BindPath(PathSpec),
    /// It was bound by a supervisor that was killed.
    Taken {
        fd: OwnedFd,
        key: OsString,
        datagram: bool,
        path: Option<UnixPath>,
    },
    Inherited {
        socket: Inherited,
        key: OsString,
        /// Its name for workers; empty if this program has given it.
        fd_name: OsString,
        /// It comes from systemd's fd store, where an earlier run of this program has put it.
        stored: bool,
    },
}

impl Planned {
    /// A socket whose option asks for no number.
    pub(super) fn anywhere(source: Source) -> Planned {
        let asked = None;
        Planned { source, asked }
    }
}

impl Source {
    /// An inherited socket. Workers do not get a name that this program has given in the fd store.
    pub(super) fn inherited(
        socket: Inherited,
        key: OsString,
        is_stored: &impl Fn(&OsStr) -> bool,
    ) -> Source {
        let stored = is_stored(&socket.name);
        Source::Inherited {
            fd_name: match stored {
                true => OsString::new(),
                false => socket.name.clone(),
            },
            socket,
            key,
            stored,
        }
    }

    pub(super) fn as_inherited(&self) -> Option<&Inherited> {
        match self {
            Source::Inherited { socket, .. } => Some(socket),
            Source::Bind(..) | Source::BindPath(_) | Source::Taken { .. } => None,
        }
    }
}
