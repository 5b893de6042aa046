//! Inherited sockets: from systemd by `LISTEN_FDS`, sd_listen_fds(3), or as standard input, as with inetd(8)
//! and `StandardInput=socket`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

use super::endpoint::{Endpoint, Unfit};
use super::socket::FIRST_FD;
use crate::error::{DisplayIoError, Error, why};
use crate::sys;

/// An inherited socket, FIFO, or other descriptor.
pub(crate) struct Inherited {
    pub(super) fd: OwnedFd,
    /// `FileDescriptorName=`, by default the name of the unit; empty if it has none.
    pub(super) name: OsString,
    pub(super) endpoint: Endpoint,
}

/// Takes the inherited descriptors, and unsets their variables. Call it before anything is opened: the
/// descriptors are given by number.
pub(crate) fn take() -> Result<Vec<Inherited>, Error> {
    let listed = parse_listen_fds(|name| std::env::var_os(name), sys::fd::is_open);
    let Ok(Some((count, names))) = listed else {
        sys::environment::unset_listen_fds();
        return listed.map(|_| standard_input().into_iter().collect());
    };
    sys::environment::unset("LISTEN_FDS_FIRST_FD"); // listenfd would take other numbers
    let mut listenfd = ListenFd::from_env(); // unsets LISTEN_FDS and LISTEN_PID
    sys::environment::unset_listen_fds();
    let numbers = (0..count).map(|index| listenfd.take_raw_fd(index).ok().flatten());
    let names = names.into_iter().chain(std::iter::repeat(OsString::new()));
    let named = numbers.zip(names);
    named
        .filter_map(|(number, name)| Some(adopt(number?, name)))
        .collect()
}

fn adopt(number: RawFd, name: OsString) -> Result<Inherited, Error> {
    let fd = sys::fd::adopt(number).map_err(|e| unusable(number, DisplayIoError(&e)))?;
    let endpoint = Endpoint::of(&fd).map_err(|unfit| match unfit {
        Unfit::Connection => unusable(
            number,
            "a connection, and not a listening socket (Accept=yes in its unit? no is needed)",
        ),
        Unfit::Unreadable(errno) => unusable(number, why(errno)),
    })?;
    Ok(Inherited { fd, name, endpoint })
}

fn unusable(number: RawFd, why: impl std::fmt::Display) -> Error {
    Error::Inherited(format!("cannot use inherited descriptor {number}: {why}"))
}

/// The number of descriptors, and their names; `None` if there are none, or if they are for another process.
pub(super) fn parse_listen_fds(
    variable: impl Fn(&str) -> Option<OsString>,
    is_open: impl Fn(RawFd) -> bool,
) -> Result<Option<(usize, Vec<OsString>)>, Error> {
    let Some(count) = variable("LISTEN_FDS") else {
        return Ok(None);
    };
    let pid = variable("LISTEN_PID").unwrap_or_default();
    if pid.to_str().and_then(|pid| pid.parse::<u32>().ok()) != Some(std::process::id()) {
        let pid = pid.to_string_lossy();
        tracing::warn!(
            "LISTEN_FDS is ignored: LISTEN_PID={pid} names another process than this one, {}; a program between \
             the service manager and start_server has to exec it",
            std::process::id()
        );
        return Ok(None);
    }
    let number = count.to_str().and_then(|count| count.parse::<u16>().ok());
    let Some(count) = number.map(usize::from) else {
        let count = count.to_string_lossy();
        return Err(Error::Inherited(format!(
            "LISTEN_FDS={count}: not a number of descriptors"
        )));
    };
    let closed = (FIRST_FD..).take(count).find(|fd| !is_open(*fd));
    if let Some(closed) = closed {
        let message = format!("LISTEN_FDS={count}, but descriptor {closed} is not open");
        return Err(Error::Inherited(message));
    }
    let names = variable("LISTEN_FDNAMES");
    let names = names.map_or(Vec::new(), |names| split_names(&names, count));
    Ok(Some((count, names)))
}

/// Splits `LISTEN_FDNAMES`. Empty, with a warning, if it has not exactly `count` names.
fn split_names(names: &OsStr, count: usize) -> Vec<OsString> {
    let names = names.as_bytes().split(|b| *b == b':');
    let names: Vec<OsString> = names.map(|n| OsStr::from_bytes(n).to_owned()).collect();
    if names.len() != count {
        let found = names.len();
        tracing::warn!("ignoring LISTEN_FDNAMES: it has {found} names for {count} descriptors");
        return Vec::new();
    }
    names
}

/// Standard input, if it is a listening socket. It moves to another number: workers find it at its place in the
/// list, and /dev/null on 0 unless an option puts it there (`=0`).
fn standard_input() -> Option<Inherited> {
    let stdin = std::io::stdin();
    let listens = getsockopt(&stdin, sockopt::AcceptConn).ok()?;
    if !listens {
        return None;
    }
    let fd = sys::fd::dup_above(&stdin, FIRST_FD).ok()?;
    let endpoint = Endpoint::of(&fd).ok()?;
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null").ok()?).ok()?;
    Some(Inherited {
        fd,
        name: OsString::from("stdin"),
        endpoint,
    })
}

impl Inherited {
    /// For messages: the name, or the number that it came on.
    pub(super) fn label(&self) -> String {
        let number = self.fd.as_raw_fd();
        if self.name.is_empty() {
            return format!("descriptor {number}");
        }
        self.name.to_string_lossy().into_owned()
    }

    /// The key for workers, if no option names the socket.
    pub(super) fn key(&self) -> Option<OsString> {
        let is_valid = |name: &&OsString| {
            let reserved = |b: &u8| matches!(b, b';' | b'=');
            !name.is_empty() && !name.as_bytes().iter().any(reserved)
        };
        let name = || Some(&self.name).filter(is_valid).cloned();
        self.endpoint.key().or_else(name)
    }
}
