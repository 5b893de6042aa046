//! Opens the sockets of a plan.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};

use super::Plan;
use super::planned::{Planned, Source};
use crate::error::Error;
use crate::sockets::socket::{Origin, Socket, Sockets};
use crate::sockets::unix_path::PathAccess;
use crate::sockets::{bind, unix_path};
use crate::sys;

impl Plan {
    /// Binds the sockets that are not inherited, and puts all on their numbers. After an error no socket and no file is
    /// left.
    pub(crate) fn open(self, access: &PathAccess, backlog: u32) -> Result<Sockets, Error> {
        // listen(2) cuts the backlog down to the system's maximum.
        let backlog = if backlog == 0 { u32::MAX } else { backlog };
        let numbers = self.numbers();
        let mut list = Vec::with_capacity(self.list.len());
        for (Planned { source, asked }, number) in self.list.into_iter().zip(numbers) {
            let mut stored = false;
            let (key, fd_name, fd, origin) = match source {
                Source::Bind(spec, address) => {
                    let (fd, port) = bind::port(&spec, address, backlog)?;
                    let datagram = spec.udp;
                    let origin = Origin::Bound {
                        datagram,
                        path: None,
                    };
                    (spec.key(port), OsString::new(), fd, origin)
                }
                Source::BindPath(spec) => {
                    let (fd, made) = unix_path::bind(spec.as_path(), access, backlog)?;
                    let origin = Origin::Bound {
                        datagram: false,
                        path: Some(made),
                    };
                    (spec.as_path().into(), OsString::new(), fd, origin)
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
                    let origin = Origin::Bound { datagram, path };
                    (key, OsString::new(), fd, origin)
                }
                Source::Inherited {
                    socket,
                    key,
                    fd_name,
                    stored: was_ours,
                } => {
                    stored = was_ours;
                    let (name, key_shown) = (socket.label(), key.to_string_lossy());
                    tracing::info!("using inherited socket {name} for {key_shown}");
                    (key, fd_name, socket.fd, Origin::Inherited)
                }
            };
            let fd = park(fd, number, &key)?;
            if asked.is_some() {
                tracing::info!("socket is duplicated to file descriptor {number}");
            }
            list.push(Socket {
                key,
                fd_name,
                fd,
                origin,
                stored,
            });
        }
        Ok(Sockets { list })
    }
}

fn park(fd: OwnedFd, number: RawFd, key: &OsString) -> Result<OwnedFd, Error> {
    sys::fd::dup_to(fd, number).map_err(|source| Error::Socket {
        action: "find a descriptor number for",
        address: format!("{} (={number})", key.to_string_lossy()),
        source,
    })
}
