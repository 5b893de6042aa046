//! What workers are told about their sockets, in both dialects: Server::Starter's and systemd's.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use super::{FIRST_FD, Origin, Socket, Sockets};

/// What sd_listen_fds(3) wants to know: how many descriptors there are from 3 up, and their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenFds {
    /// `LISTEN_FDS`
    pub(crate) count: usize,
    /// `LISTEN_FDNAMES`: the names in the order of the descriptors, with a colon between two.
    pub(crate) names: String,
}

/// FDNAME has at most this many characters, sd_pid_notify_with_fds(3).
const LONGEST_NAME: usize = 255;

impl Sockets {
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

    /// The same for sd_listen_fds(3); none if there are no sockets, or if explicit numbers keep
    /// them from being 3, 4, 5, … without a gap.
    pub(crate) fn listen_fds(&self) -> Option<ListenFds> {
        let mut sockets: Vec<&Socket> = self.list.iter().collect();
        sockets.sort_unstable_by_key(|socket| socket.fd.as_raw_fd());
        let numbers = sockets.iter().map(|socket| socket.fd.as_raw_fd());
        if sockets.is_empty() || !numbers.eq((FIRST_FD..).take(sockets.len())) {
            return None;
        }
        let names: Vec<String> = sockets.iter().map(|socket| fd_name(socket)).collect();
        Some(ListenFds {
            count: sockets.len(),
            names: names.join(":"),
        })
    }
}

/// A socket, as workers know it.
pub(crate) struct Told<'a> {
    pub(crate) key: &'a OsStr,
    pub(crate) fd: i32,
    /// As in `LISTEN_FDNAMES`.
    pub(crate) name: String,
    /// It was not bound here.
    pub(crate) inherited: bool,
    /// systemd holds it too, so that a restart of the supervisor loses no connection.
    pub(crate) kept: bool,
}

impl Sockets {
    /// All of them, in order.
    pub(crate) fn told(&self) -> impl Iterator<Item = Told<'_>> {
        self.list.iter().map(|socket| Told {
            key: &socket.key,
            fd: socket.fd.as_raw_fd(),
            name: fd_name(socket),
            inherited: matches!(socket.origin, Origin::Inherited),
            kept: socket.stored || matches!(socket.origin, Origin::Inherited),
        })
    }
}

/// systemd's name for a socket, else one made from its key: `127.0.0.1_8080`.
fn fd_name(socket: &Socket) -> String {
    let name = match socket.fd_name.is_empty() {
        true => &socket.key,
        false => &socket.fd_name,
    };
    valid(name)
}

/// A name that systemd would take for a descriptor: printable, without the colon that ends it. What
/// is not becomes `_`; of what is too long the end stays, which says more of a path.
pub(super) fn valid(name: &OsStr) -> String {
    let bytes = name.as_bytes();
    let tail = &bytes[bytes.len().saturating_sub(LONGEST_NAME)..];
    tail.iter()
        .map(|byte| match byte {
            b':' => '_',
            b' '..=b'~' => char::from(*byte),
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{OwnedFd, RawFd};

    /// Sockets on numbers from `base` on, far above those that the test program uses. Tests run at the same
    /// time, so each has a base of its own.
    fn sockets(base: RawFd, list: &[(&str, &str, RawFd)]) -> Sockets {
        let socket = |&(key, fd_name, number): &(&str, &str, RawFd)| {
            let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            Socket {
                key: key.into(),
                fd_name: fd_name.into(),
                fd: crate::sys::fd::dup_to(file, base + number).unwrap(),
                origin: Origin::Inherited,
                stored: false,
            }
        };
        Sockets {
            list: list.iter().map(socket).collect(),
        }
    }

    #[test]
    fn keys_and_numbers_in_order() {
        let value = sockets(500, &[("80", "", 4), ("/run/x.sock", "", 3)]).server_starter_port();
        assert_eq!(value, "80=504;/run/x.sock=503");
        assert_eq!(sockets(0, &[]).server_starter_port(), "");
    }

    #[test]
    fn names_are_ones_that_systemd_takes() {
        assert_eq!(valid(OsStr::new("127.0.0.1:8080")), "127.0.0.1_8080");
        assert_eq!(valid(OsStr::new("[::1]:8080")), "[__1]_8080");
        assert_eq!(valid(OsStr::new("/run/web.sock")), "/run/web.sock");
        assert_eq!(valid(OsStr::from_bytes(b"\xffa\n")), "_a_");
        let long = "x".repeat(300) + "/end.sock";
        assert!(valid(OsStr::new(&long)).len() == 255);
        assert!(valid(OsStr::new(&long)).ends_with("/end.sock"));
    }

    #[test]
    fn without_sockets_or_with_other_numbers_there_is_nothing_to_tell() {
        assert_eq!(sockets(0, &[]).listen_fds(), None);
        assert_eq!(sockets(600, &[("80", "web", 3)]).listen_fds(), None); // on 603
    }
}
