//! A socket of the plan, before it is opened.

use std::ffi::OsString;
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
