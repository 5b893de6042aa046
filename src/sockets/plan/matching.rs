//! Finds the inherited socket of an option.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::planned::{Planned, Source};
use crate::error::Error;
use crate::sockets::inherit::Inherited;
use crate::sockets::port_spec::AddressSpec;

/// Whether an inherited socket that an earlier option has taken serves this one too: systemd's
/// `ListenStream=80` is one socket for both families, which `--port=80` and `--port=[::]:80` name. Workers
/// get it once, by the key of the first option; the second one may only add the descriptor number.
pub(super) fn shared(
    list: &mut [Planned],
    spec: &AddressSpec,
    address: SocketAddr,
) -> Result<bool, Error> {
    let found = list.iter_mut().find_map(|planned| match &planned.source {
        Source::Inherited { socket, key, .. } if socket.endpoint.serves(address, spec.udp) => {
            Some((&mut planned.asked, socket.label(), key))
        }
        _ => None,
    });
    let Some((asked, label, key)) = found else {
        return Ok(false);
    };
    let key = key.to_string_lossy();
    if let (Some(one), Some(_)) = (*asked, spec.fd) {
        return Err(Error::Inherited(format!(
            "--port={key}={one} and --port={spec} are one inherited socket, {label}, which cannot be on \
             both descriptors: leave one number out, or set BindIPv6Only=ipv6-only and two ListenStream= lines \
             in its .socket unit"
        )));
    }
    *asked = asked.or(spec.fd);
    tracing::info!("inherited socket {label} serves {spec} too; workers see it as {key}");
    Ok(true)
}

/// Removes the first inherited socket that is `wanted`.
pub(super) fn take_first(
    from: &mut Vec<Inherited>,
    wanted: impl FnMut(&Inherited) -> bool,
) -> Option<Inherited> {
    let at = from.iter().position(wanted)?;
    Some(from.remove(at))
}

/// Removes all inherited sockets of a name: two lines of one unit have the same.
///
/// # Errors
/// There is none, or there are several and `fd` is given.
pub(super) fn take_named(
    left: &mut Vec<Inherited>,
    name: &str,
    fd: Option<RawFd>,
) -> Result<Vec<Inherited>, Error> {
    let (found, rest): (Vec<_>, Vec<_>) = left.drain(..).partition(|s| s.name == name);
    *left = rest;
    match found.len() {
        0 => {
            let there: Vec<String> = left.iter().map(Inherited::label).collect();
            let there = match there.is_empty() {
                true => "none".to_owned(),
                false => there.join(", "),
            };
            Err(Error::Inherited(format!(
                "--port=fd:{name}: no inherited socket has that name (left to choose from: {there})"
            )))
        }
        1 => Ok(found),
        several => match fd {
            None => Ok(found),
            Some(fd) => Err(Error::Inherited(format!(
                "--port=fd:{name}={fd}: {several} inherited sockets have that name"
            ))),
        },
    }
}

/// The key of an inherited socket that no option's address names.
///
/// # Errors
/// It has neither an address nor a valid name.
pub(super) fn own_key(socket: Inherited) -> Result<(Inherited, OsString), Error> {
    match socket.key() {
        Some(key) => Ok((socket, key)),
        None => Err(Error::Inherited(format!(
            "cannot pass on inherited {}: it has no address, and no name without ';' and '='; set \
             FileDescriptorName= in its .socket unit",
            socket.label()
        ))),
    }
}
