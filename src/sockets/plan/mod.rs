//! The plan of the sockets: where each comes from and which descriptor number it gets. It is complete before anything
//! is bound.

mod conflicts;
mod matching;
mod open;
mod planned;
pub(super) mod taken;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, RawFd};

use super::inherit::Inherited;
use super::path_spec::PathSpec;
use super::port_spec::PortSpec;
use super::{FIRST_FD, bind};
use crate::error::Error;
use crate::sys;
use conflicts::{check, refuse_clashes};
use matching::{own_key, shared, take_first, take_named};
use planned::{Planned, Source};

/// The sockets that will be opened, in order.
pub(crate) struct Plan {
    list: Vec<Planned>,
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
        check(ports, paths).map_err(Error::Usage)?;
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
}

#[cfg(test)]
mod tests;
