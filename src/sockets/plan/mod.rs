//! The plan of the sockets: where each comes from and which descriptor number it gets. It is complete before
//! anything is bound.

mod conflicts;
mod matching;
mod open;
mod planned;
pub(super) mod taken;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, RawFd};

use super::bind;
use super::inherit::Inherited;
use super::path_spec::PathSpec;
use super::port_spec::PortSpec;
use super::socket::FIRST_FD;
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
    /// Looks up host names, and matches specs with inherited sockets. Inherited sockets that no spec names
    /// are passed on too, except those from the fd store: no option asks for these any more. `is_stored`
    /// recognizes the names that an earlier run of this program has given in the fd store.
    ///
    /// # Errors
    /// Two sockets on one number, one address twice, an address that an inherited socket blocks.
    pub(crate) fn make(
        ports: &[PortSpec],
        paths: &[PathSpec],
        inherited: Vec<Inherited>,
        is_stored: impl Fn(&OsStr) -> bool,
    ) -> Result<Plan, Error> {
        check(ports, paths).map_err(Error::Usage)?;
        let mut left = inherited;
        let mut list = Vec::with_capacity(ports.len() + paths.len() + left.len());
        for spec in ports {
            plan_port(spec, &mut list, &mut left, &is_stored)?;
        }
        for spec in paths {
            let path = spec.as_path();
            let source = match take_first(&mut left, |s| s.endpoint.serves_path(path)) {
                Some(socket) => Source::inherited(socket, path.into(), &is_stored),
                None => Source::BindPath(spec.clone()),
            };
            list.push(Planned::anywhere(source));
        }
        refuse_clashes(&list, &left)?;
        let (stale, left): (Vec<_>, Vec<_>) = left.into_iter().partition(|s| is_stored(&s.name));
        for socket in left {
            let (socket, key) = own_key(socket)?;
            let source = Source::inherited(socket, key, &is_stored);
            list.push(Planned::anywhere(source));
        }
        let mut plan = Plan {
            list,
            min_fd: FIRST_FD,
            stale: stale.into_iter().map(|s| s.name).collect(),
        };
        plan.set_min_fd()?;
        plan.move_inherited_away()?;
        Ok(plan)
    }

    /// Sets `min_fd`, and checks that enough descriptors may be open.
    fn set_min_fd(&mut self) -> Result<(), Error> {
        let highest = self.numbers().into_iter().max();
        let highest = highest.unwrap_or(0).max(FIRST_FD - 1);
        let limit = sys::limits::soft_limit();
        if highest >= limit.saturating_sub(sys::limits::RESERVED_FDS) {
            return Err(Error::OpenFiles { highest, limit });
        }
        self.min_fd = highest + 1;
        Ok(())
    }

    /// The first number above those of all sockets: descriptors of the supervisor's own go there.
    pub(crate) fn min_fd(&self) -> RawFd {
        self.min_fd
    }

    /// The present numbers of the inherited sockets.
    pub(crate) fn inherited_numbers(&self) -> Vec<RawFd> {
        let inherited = self.list.iter().filter_map(|p| p.source.as_inherited());
        inherited.map(|socket| socket.fd.as_raw_fd()).collect()
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
            let Source::Inherited { socket, .. } = &mut planned.source else {
                continue;
            };
            let at = socket.fd.as_raw_fd();
            if at != number && at < self.min_fd {
                let moved = sys::fd::dup_above(&socket.fd, self.min_fd);
                socket.fd = moved.map_err(Error::socket("move inherited", socket.label()))?;
            }
        }
        Ok(())
    }
}

/// Adds the sockets of a `--port`: usually one, none if an earlier option has the same inherited socket, and
/// several for a name.
fn plan_port(
    spec: &PortSpec,
    list: &mut Vec<Planned>,
    left: &mut Vec<Inherited>,
    is_stored: &impl Fn(&OsStr) -> bool,
) -> Result<(), Error> {
    match spec {
        PortSpec::Address(spec) => {
            let address = bind::resolve(spec)?;
            let same = |s: &Inherited| s.endpoint.serves(address, spec.udp);
            let source = match take_first(left, same) {
                Some(socket) => Source::inherited(socket, spec.key(spec.port), is_stored),
                None if shared(list, spec, address)? => return Ok(()),
                None => Source::Bind(spec.clone(), address),
            };
            let asked = spec.fd;
            list.push(Planned { source, asked });
        }
        PortSpec::FdName { name, fd } => {
            let found = take_named(left, name, *fd)?;
            for (at, socket) in found.into_iter().enumerate() {
                let (socket, key) = own_key(socket)?;
                let source = Source::inherited(socket, key, is_stored);
                let asked = fd.filter(|_| at == 0);
                list.push(Planned { source, asked });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
