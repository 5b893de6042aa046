//! The plan of the sockets: where each comes from and which descriptor number it gets. It is complete before anything
//! is bound.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::inherit::Inherited;
use super::matching::{own_key, refuse_clashes, shared, take_first, take_named};
use super::planned::{Planned, Source};
use super::spec::{PathSpec, PortSpec};
use super::unix_path::PathAccess;
use super::{FIRST_FD, Origin, Socket, Sockets, bind, unix_path};
use crate::error::Error;
use crate::sys;

/// The sockets that will be opened, in order.
pub(crate) struct Plan {
    pub(super) list: Vec<Planned>,
    min_fd: RawFd,
    stale: Vec<OsString>,
}

impl Plan {
    /// Looks up host names, and matches specs with inherited sockets. Inherited sockets that no spec names are passed on
    /// too, unless their name shows that an earlier run of this program has bound them (`was_ours`): no option asks
    /// for these any more.
    ///
    /// # Errors
    /// Two sockets on one number, one address twice, an address that an inherited socket blocks.
    pub(crate) fn make(
        ports: &[PortSpec],
        paths: &[PathSpec],
        inherited: Vec<Inherited>,
        was_ours: impl Fn(&OsStr) -> bool,
    ) -> Result<Plan, Error> {
        super::check(ports, paths).map_err(Error::Usage)?;
        // A name that this program has given, in the fd store, means nothing to workers.
        let taken = |socket: Inherited, key| {
            let fd_name = match was_ours(&socket.name) {
                true => OsString::new(),
                false => socket.name.clone(),
            };
            Source::Inherited {
                stored: was_ours(&socket.name),
                socket,
                key,
                fd_name,
            }
        };
        let mut left = inherited;
        let mut list = Vec::with_capacity(ports.len() + paths.len() + left.len());
        for spec in ports {
            match spec {
                PortSpec::Address(spec) => {
                    let address = bind::resolve(spec)?;
                    let same = |s: &Inherited| s.endpoint.serves(address, spec.udp);
                    let source = match take_first(&mut left, same) {
                        Some(socket) => taken(socket, spec.key(spec.port)),
                        None if shared(&mut list, spec, address)? => continue,
                        None => Source::Bind(spec.clone(), address),
                    };
                    list.push(Planned {
                        source,
                        asked: spec.fd,
                    });
                }
                PortSpec::FdName { name, fd } => {
                    let found = take_named(&mut left, name, *fd)?;
                    for (at, socket) in found.into_iter().enumerate() {
                        let asked = fd.filter(|_| at == 0);
                        list.push(Planned {
                            source: own_key(socket).map(|(socket, key)| taken(socket, key))?,
                            asked,
                        });
                    }
                }
            }
        }
        for spec in paths {
            let path = spec.as_path();
            let source = match take_first(&mut left, |s| s.endpoint.serves_path(path)) {
                Some(socket) => taken(socket, path.into()),
                None => Source::BindPath(spec.clone()),
            };
            list.push(Planned {
                source,
                asked: None,
            });
        }
        refuse_clashes(&list, &left)?;
        let (stale, left): (Vec<_>, Vec<_>) = left.into_iter().partition(|s| was_ours(&s.name));
        for socket in left {
            list.push(Planned {
                source: own_key(socket).map(|(socket, key)| taken(socket, key))?,
                asked: None,
            });
        }
        let mut plan = Plan {
            list,
            min_fd: FIRST_FD,
            stale: stale.into_iter().map(|s| s.name).collect(),
        };
        let highest = plan
            .numbers()
            .into_iter()
            .max()
            .unwrap_or(0)
            .max(FIRST_FD - 1);
        let limit = sys::limits::soft_limit();
        if highest >= limit.saturating_sub(sys::limits::RESERVED_FDS) {
            return Err(Error::OpenFiles { highest, limit });
        }
        plan.min_fd = highest + 1;
        plan.move_inherited_away()?;
        Ok(plan)
    }

    /// The first number above those of all sockets: descriptors of the supervisor's own go there.
    pub(crate) fn min_fd(&self) -> RawFd {
        self.min_fd
    }

    /// The present numbers of the inherited sockets.
    pub(crate) fn inherited_numbers(&self) -> Vec<RawFd> {
        let inherited = self
            .list
            .iter()
            .filter_map(|planned| match &planned.source {
                Source::Inherited { socket, .. } => Some(socket.fd.as_raw_fd()),
                Source::Bind(..) | Source::BindPath(_) | Source::Taken { .. } => None,
            });
        inherited.collect()
    }

    /// The names of sockets from the fd store that no option asks for any more. Their descriptors are closed.
    pub(crate) fn stale(&self) -> &[OsString] {
        &self.stale
    }

    /// For each socket the number that its option asks for, else the lowest from 3 on that none asks for.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        let asked: HashSet<RawFd> = self.list.iter().filter_map(|p| p.asked).collect();
        let mut free = (FIRST_FD..).filter(|number| !asked.contains(number));
        self.list
            .iter()
            .filter_map(|p| p.asked.or_else(|| free.next()))
            .collect()
    }

    /// Moves inherited descriptors off numbers that are assigned to other sockets.
    fn move_inherited_away(&mut self) -> Result<(), Error> {
        let numbers = self.numbers();
        for (planned, number) in self.list.iter_mut().zip(numbers) {
            if let Source::Inherited { socket, .. } = &mut planned.source {
                if socket.fd.as_raw_fd() != number && socket.fd.as_raw_fd() < self.min_fd {
                    socket.fd = sys::fd::dup_above(&socket.fd, self.min_fd).map_err(|e| {
                        let address = socket.label();
                        Error::Socket {
                            action: "move inherited",
                            address,
                            source: e,
                        }
                    })?;
                }
            }
        }
        Ok(())
    }

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

#[cfg(test)]
mod tests;
