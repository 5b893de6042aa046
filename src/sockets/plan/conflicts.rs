//! Options, and options and inherited sockets, that exclude each other.

use std::collections::{HashMap, HashSet};

use super::planned::{Planned, Source};
use crate::error::Error;
use crate::sockets::inherit::Inherited;
use crate::sockets::path_spec::PathSpec;
use crate::sockets::port_spec::PortSpec;

/// Refuses two sockets on one number, and one address twice.
pub(super) fn check(ports: &[PortSpec], paths: &[PathSpec]) -> Result<(), String> {
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

/// Refuses to bind an address that another socket of the plan has, or that an inherited socket blocks.
pub(super) fn refuse_clashes(list: &[Planned], left: &[Inherited]) -> Result<(), Error> {
    let taken = list
        .iter()
        .filter_map(|planned| planned.source.as_inherited());
    let inherited: Vec<&Inherited> = taken.chain(left).collect();
    let mut bound = HashMap::new();
    for planned in list {
        let Source::Bind(spec, address) = &planned.source else {
            continue;
        };
        let clash = |socket: &&Inherited| {
            Some((socket.label(), socket.endpoint.clash(*address, spec.udp)?))
        };
        if let Some((label, address)) = inherited.iter().find_map(clash) {
            return Err(Error::Inherited(format!(
                "--port={spec} cannot be bound beside the inherited socket {label}, which has {address}: leave the \
                 option out, or change ListenStream= in the .socket unit"
            )));
        }
        let same = bound
            .insert((*address, spec.udp), spec)
            .filter(|_| address.port() != 0);
        if let Some(other) = same {
            let message = format!("--port: {other} and {spec} are the same address, {address}");
            return Err(Error::Usage(message));
        }
    }
    Ok(())
}
