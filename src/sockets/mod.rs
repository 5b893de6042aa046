//! The listening sockets: parsed from the command line, bound once, held for ever, told to
//! workers.

mod bind;
mod spec;
mod unix_path;

pub use spec::{Host, PathSpec, PortSpec};
pub use unix_path::PathAccess;

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::error::Error;
use crate::sys;
use unix_path::UnixPath;

/// The first descriptor number that is handed out, as in sd_listen_fds(3).
pub(crate) const FIRST_FD: RawFd = 3;

/// The sockets, parked on the numbers on which workers find them, so that a spawn has nothing to
/// do for a socket but clear its close-on-exec flag.
pub(crate) struct Sockets {
    /// In the order in which workers see them: ports, then paths.
    list: Vec<Socket>,
}

struct Socket {
    key: OsString,
    fd: OwnedFd,
    /// Removes the socket's file at the end.
    _path: Option<UnixPath>,
}

impl Sockets {
    /// Binds everything, or nothing: after an error no socket and no file is left.
    pub(crate) fn open(
        ports: &[PortSpec],
        paths: &[PathSpec],
        access: &PathAccess,
        backlog: u32,
    ) -> Result<Sockets, Error> {
        // 0 and "more than the system allows" are the same to listen(2).
        let backlog = if backlog == 0 { u32::MAX } else { backlog };
        let mut numbers = assign_numbers(ports, paths.len());
        let mut list = Vec::with_capacity(ports.len() + paths.len());
        for spec in ports {
            let (fd, port) = bind::port(spec, backlog)?;
            let fd = park(fd, numbers.next(), spec)?;
            if spec.fd.is_some() {
                tracing::info!("socket is duplicated to file descriptor {}", fd.as_raw_fd());
            }
            list.push(Socket {
                key: spec.key(port),
                fd,
                _path: None,
            });
        }
        for spec in paths {
            let path = spec.as_path();
            let (fd, made) = unix_path::bind(path, access, backlog)?;
            let fd = park(fd, numbers.next(), &path.display())?;
            list.push(Socket {
                key: path.into(),
                fd,
                _path: Some(made),
            });
        }
        Ok(Sockets { list })
    }

    /// The numbers they are parked on, in order.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.list.iter().map(|s| s.fd.as_raw_fd()).collect()
    }

    /// Whether one of them sits on standard input, as inetd(8) has it.
    pub(crate) fn on_stdin(&self) -> bool {
        self.list
            .iter()
            .any(|s| s.fd.as_raw_fd() == libc::STDIN_FILENO)
    }

    /// The value of `SERVER_STARTER_PORT`: `KEY=FD;KEY=FD`, in order; empty without sockets.
    pub(crate) fn server_starter_port(&self) -> OsString {
        let mut value = OsString::new();
        for (at, socket) in self.list.iter().enumerate() {
            if at > 0 {
                value.push(";");
            }
            value.push(&socket.key);
            value.push(format!("={}", socket.fd.as_raw_fd()));
        }
        value
    }
}

/// Which number each socket goes to: the one that was asked for, else the lowest from 3 that
/// nobody asked for.
fn assign_numbers(ports: &[PortSpec], paths: usize) -> impl Iterator<Item = RawFd> + use<'_> {
    let asked: std::collections::HashSet<RawFd> = ports.iter().filter_map(|p| p.fd).collect();
    let mut free = (FIRST_FD..).filter(move |number| !asked.contains(number));
    let wanted = ports
        .iter()
        .map(|p| p.fd)
        .chain(std::iter::repeat_n(None, paths));
    wanted.filter_map(move |asked| asked.or_else(|| free.next()))
}

/// The first number above all sockets': what the supervisor opens for itself lives from there on.
pub(crate) fn first_free_number(ports: &[PortSpec], paths: &[PathSpec]) -> RawFd {
    let highest = assign_numbers(ports, paths.len()).max();
    highest.map_or(FIRST_FD, |number| number.saturating_add(1).max(FIRST_FD))
}

fn park(
    fd: OwnedFd,
    number: Option<RawFd>,
    address: &dyn std::fmt::Display,
) -> Result<OwnedFd, Error> {
    let number = number.unwrap_or(FIRST_FD); // never: the numbers do not run out before the ports
    sys::fd::park(fd, number).map_err(|source| Error::Socket {
        action: "find a descriptor number for",
        address: format!("{address} (={number})"),
        source,
    })
}

/// Refuses what cannot be bound as a whole: two sockets on one number, one address twice.
pub(crate) fn check(ports: &[PortSpec], paths: &[PathSpec]) -> Result<(), String> {
    let mut numbers = std::collections::HashMap::new();
    let mut addresses = std::collections::HashSet::new();
    for spec in ports {
        if let Some(fd) = spec.fd {
            if let Some(other) = numbers.insert(fd, spec) {
                return Err(format!(
                    "--port: descriptor {fd} cannot be both {other} and {spec}"
                ));
            }
        }
        if spec.port != 0 && !addresses.insert((&spec.host, spec.port, spec.udp)) {
            return Err(format!("--port: {spec} is given twice"));
        }
    }
    let mut seen = std::collections::HashSet::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(specs: &[&str]) -> Vec<PortSpec> {
        specs.iter().map(|s| s.parse().unwrap()).collect()
    }

    #[test]
    fn numbers_are_the_lowest_nobody_asked_for() {
        let numbers = |specs: &[&str], paths| -> Vec<RawFd> {
            assign_numbers(&ports(specs), paths).collect()
        };
        assert_eq!(numbers(&["80", "81"], 2), [3, 4, 5, 6]);
        assert_eq!(numbers(&["80", "81=3", "82", "83=0"], 1), [4, 3, 5, 0, 6]);
        assert_eq!(numbers(&[], 0), [] as [RawFd; 0]);
    }

    #[test]
    fn conflicts_are_refused_before_anything_is_bound() {
        let conflict = |specs: &[&str]| check(&ports(specs), &[]).err();
        assert_eq!(
            conflict(&["80", "81", "u80", "127.0.0.1:80", "0", "0"]),
            None
        );
        assert!(
            conflict(&["80=5", "81=5"])
                .unwrap()
                .contains("descriptor 5")
        );
        assert!(conflict(&["80", "80=7"]).unwrap().contains("twice"));
    }
}
