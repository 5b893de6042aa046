//! The variables that tell workers their sockets: that of Server::Starter and those of systemd.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use super::socket::{FIRST_FD, Socket, Sockets};

/// The variables of sd_listen_fds(3): the number of descriptors from 3 on, and their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenFds {
    /// `LISTEN_FDS`
    pub(crate) count: usize,
    /// `LISTEN_FDNAMES`: the names in the order of the descriptors, with a colon between two.
    pub(crate) names: String,
}

/// The longest name of a descriptor, sd_pid_notify_with_fds(3).
const MAX_FD_NAME: usize = 255;

impl Sockets {
    /// The value of `SERVER_STARTER_PORT`: `KEY=FD;KEY=FD`, in order; empty without sockets.
    pub(crate) fn server_starter_port(&self) -> OsString {
        let mut value = OsString::new();
        for (at, socket) in self.list.iter().enumerate() {
            if at > 0 {
                value.push(";");
            }
            value.push(&socket.state.key);
            value.push(format!("={}", socket.fd.as_raw_fd()));
        }
        value
    }

    /// The variables of sd_listen_fds(3); `None` without sockets, or if they are not on 3, 4, 5, … without a
    /// gap.
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

/// A socket, as workers see it.
pub(crate) struct SocketInfo<'a> {
    pub(crate) key: &'a OsStr,
    pub(crate) fd: i32,
    /// As in `LISTEN_FDNAMES`.
    pub(crate) name: String,
    /// It was inherited, and not bound here.
    pub(crate) inherited: bool,
    /// systemd holds it too, so that a restart of the supervisor loses no connection.
    pub(crate) kept: bool,
}

impl Sockets {
    /// All sockets, in order.
    pub(crate) fn describe(&self) -> impl Iterator<Item = SocketInfo<'_>> {
        self.list.iter().map(|socket| SocketInfo {
            key: &socket.state.key,
            fd: socket.fd.as_raw_fd(),
            name: fd_name(socket),
            inherited: !socket.is_bound(),
            kept: socket.state.stored || !socket.is_bound(),
        })
    }
}

/// systemd's name for a socket, else one made from its key: `127.0.0.1_8080`.
fn fd_name(socket: &Socket) -> String {
    let state = &socket.state;
    match state.fd_name.is_empty() {
        true => valid_fd_name(&state.key),
        false => valid_fd_name(&state.fd_name),
    }
}

/// A valid name of a descriptor: printable, without colons. Other characters become `_`; of a long name the end
/// stays, which says more of a path.
pub(super) fn valid_fd_name(name: &OsStr) -> String {
    let bytes = name.as_bytes();
    let tail = &bytes[bytes.len().saturating_sub(MAX_FD_NAME)..];
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
    use crate::sockets::socket::{Origin, State};
    use std::os::fd::{OwnedFd, RawFd};

    /// Sockets on numbers from `base` on, far above those that the test program uses. Tests run at the same
    /// time, so each has a base of its own.
    fn sockets(base: RawFd, list: &[(&str, &str, RawFd)]) -> Sockets {
        let socket = |&(key, fd_name, number): &(&str, &str, RawFd)| {
            let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            Socket {
                fd: crate::sys::fd::dup_to(file, base + number).unwrap(),
                file: None,
                state: State {
                    key: key.into(),
                    fd_name: fd_name.into(),
                    origin: Origin::Inherited,
                    stored: false,
                },
            }
        };
        Sockets {
            list: list.iter().map(socket).collect(),
        }
    }

    #[test]
    fn server_starter_port_has_keys_and_numbers_in_order() {
        let value = sockets(500, &[("80", "", 4), ("/run/x.sock", "", 3)]).server_starter_port();
        assert_eq!(value, "80=504;/run/x.sock=503");
        assert_eq!(sockets(0, &[]).server_starter_port(), "");
    }

    #[test]
    fn names_are_valid_for_systemd() {
        assert_eq!(
            valid_fd_name(OsStr::new("127.0.0.1:8080")),
            "127.0.0.1_8080"
        );
        assert_eq!(valid_fd_name(OsStr::new("[::1]:8080")), "[__1]_8080");
        assert_eq!(valid_fd_name(OsStr::new("/run/web.sock")), "/run/web.sock");
        assert_eq!(valid_fd_name(OsStr::from_bytes(b"\xffa\n")), "_a_");
        let long = "x".repeat(300) + "/end.sock";
        assert!(valid_fd_name(OsStr::new(&long)).len() == 255);
        assert!(valid_fd_name(OsStr::new(&long)).ends_with("/end.sock"));
    }

    #[test]
    fn listen_fds_is_absent_without_sockets_and_with_other_numbers() {
        assert_eq!(sockets(0, &[]).listen_fds(), None);
        assert_eq!(sockets(600, &[("80", "web", 3)]).listen_fds(), None); // on 603
    }
}
