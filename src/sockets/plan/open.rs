//! Opens the sockets of a plan.

use std::ffi::{OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};

use super::Plan;
use super::planned::{Planned, Source};
use crate::error::Error;
use crate::sockets::socket::{Origin, Socket, Sockets, State};
use crate::sockets::unix_path::{PathAccess, UnixPath};
use crate::sockets::{bind, unix_path};
use crate::sys;

impl Plan {
    /// Binds the sockets that are not inherited, and puts all on their numbers. After an error no socket and no
    /// file is left.
    pub(crate) fn open(self, access: &PathAccess, backlog: u32) -> Result<Sockets, Error> {
        // listen(2) cuts the backlog down to the system's maximum.
        let backlog = if backlog == 0 { u32::MAX } else { backlog };
        let numbers = self.numbers();
        let planned = self.list.into_iter().zip(numbers);
        let list = planned.map(|(Planned { source, asked }, number)| {
            let Socket { fd, file, state } = open(source, access, backlog)?;
            let fd = move_to(fd, number, &state.key)?;
            if asked.is_some() {
                tracing::info!("socket is duplicated to file descriptor {number}");
            }
            Ok(Socket { fd, file, state })
        });
        let list: Result<_, Error> = list.collect();
        Ok(Sockets { list: list? })
    }
}

/// Opens a socket on any number.
fn open(source: Source, access: &PathAccess, backlog: u32) -> Result<Socket, Error> {
    match source {
        Source::Bind(spec, address) => {
            let (fd, port) = bind::port(&spec, address, backlog)?;
            Ok(bound(fd, spec.key(port), spec.udp, None))
        }
        Source::BindPath(spec) => {
            let (fd, file) = unix_path::bind(spec.as_path(), access, backlog)?;
            Ok(bound(fd, spec.as_path().into(), false, Some(file)))
        }
        Source::Taken {
            fd,
            key,
            datagram,
            path,
        } => {
            tracing::info!("taking over socket {}", key.to_string_lossy());
            if !datagram {
                bind::listen_again(&fd, &key, backlog)?;
            }
            Ok(bound(fd, key, datagram, path))
        }
        Source::Inherited {
            socket,
            key,
            fd_name,
            stored,
        } => {
            let (name, shown) = (socket.label(), key.to_string_lossy());
            tracing::info!("using inherited socket {name} for {shown}");
            Ok(Socket {
                fd: socket.fd,
                file: None,
                state: State {
                    key,
                    fd_name,
                    origin: Origin::Inherited,
                    stored,
                },
            })
        }
    }
}

fn bound(fd: OwnedFd, key: OsString, datagram: bool, file: Option<UnixPath>) -> Socket {
    let state = State {
        key,
        fd_name: OsString::new(),
        origin: Origin::Bound { datagram },
        stored: false,
    };
    Socket { fd, file, state }
}

fn move_to(fd: OwnedFd, number: RawFd, key: &OsStr) -> Result<OwnedFd, Error> {
    let shown = format!("{} (={number})", key.to_string_lossy());
    let moved = sys::fd::dup_to(fd, number);
    moved.map_err(Error::socket("find a descriptor number for", shown))
}
