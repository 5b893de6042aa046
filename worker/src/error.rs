//! The errors of [`listeners`](crate::listeners()) and of the `take_…` methods.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::{error, fmt, io, process};

use crate::kind::Kind;

/// Why the sockets cannot be taken. The message names the variable, the entry or the descriptor, and
/// says what to do. Print it and exit with a code other than 0: the supervisor then keeps the
/// generation that is running.
///
/// ```
/// use server_starter_worker::listeners;
///
/// if let Err(error) = listeners() {
///     // not started by start_server or a .socket unit? Neither SERVER_STARTER_PORT nor …
///     eprintln!("{error}");
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No sockets were passed to this process: `SERVER_STARTER_PORT` is not set, and `LISTEN_FDS` is
    /// not set or is for another process.
    NotStarted {
        /// `LISTEN_PID`, if `LISTEN_FDS` is for that process: for instance a shell that started this
        /// program without `exec`.
        listen_pid: Option<u32>,
    },
    /// The sockets were taken before in this process. A descriptor has one owner.
    AlreadyTaken,
    /// One entry of `SERVER_STARTER_PORT` is wrong.
    Entry {
        /// The entry, `KEY=FD`, as it is written in the variable.
        entry: OsString,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// One of the descriptors that `LISTEN_FDS` passes is wrong.
    Descriptor {
        /// The value of `LISTEN_FDS`.
        listen_fds: RawFd,
        /// The descriptor, from 3 up.
        fd: RawFd,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_PIDFDID` or `LISTEN_FDNAMES` is malformed.
    Variable {
        /// The name of the variable.
        name: &'static str,
        /// The value of the variable.
        value: OsString,
        /// What the value should be, in words.
        expected: String,
    },
    /// The address given to [`listeners_or_bind`](crate::listeners_or_bind) cannot be bound.
    Bind {
        /// The address as the caller gave it.
        address: String,
        /// The error of `getaddrinfo(3)`, `bind(2)` or `listen(2)`.
        error: io::Error,
    },
    /// No socket of this kind was passed, or all of them are taken.
    Missing(Kind),
    /// The socket is of another kind than the type that it was converted to.
    WrongKind {
        /// The kind of the type.
        wanted: Kind,
        /// The kind of the socket.
        found: Kind,
    },
}

/// What is wrong with a descriptor, or with the entry that names it.
#[derive(Debug)]
#[non_exhaustive]
pub enum EntryError {
    /// The entry is not `KEY=FD`: there is no `=`, or nothing before it.
    Malformed,
    /// What follows the first `=` is not a decimal number from 0 to 2147483647.
    NotANumber,
    /// The descriptor is 1 or 2, standard output or standard error: never a socket of a worker.
    StandardOutput,
    /// An earlier entry has the same descriptor.
    Repeated,
    /// No descriptor of this number is open (`EBADF`).
    Closed,
    /// The descriptor is close-on-exec: this process has opened it or taken it before.
    NotInherited,
    /// The descriptor is something other than a socket (`ENOTSOCK`).
    NotASocket,
    /// The descriptor is a stream or sequential-packet socket on which `listen(2)` was not called.
    NotListening,
    /// A system call on the descriptor failed: `getsockopt(2)`, `getsockname(2)` or `fcntl(2)`.
    Io(io::Error),
}

impl Error {
    /// Whether no sockets were passed to this process ([`Error::NotStarted`]). A program may then
    /// bind sockets of its own.
    #[must_use]
    pub fn is_not_started(&self) -> bool {
        matches!(self, Self::NotStarted { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { listen_pid: None } => f.write_str(
                "not started by start_server or a .socket unit? \
                 Neither SERVER_STARTER_PORT nor LISTEN_FDS is set",
            ),
            Self::NotStarted {
                listen_pid: Some(pid),
            } => write!(
                f,
                "LISTEN_PID={pid}: LISTEN_FDS is for that process, and this is {}; \
                 if a shell started it, let it exec. SERVER_STARTER_PORT is not set",
                process::id()
            ),
            Self::AlreadyTaken => f.write_str(
                "the sockets passed to this process are taken already: \
                 they can be taken once per process",
            ),
            Self::Entry { entry, reason } => {
                write!(f, "SERVER_STARTER_PORT: entry {entry:?}: {reason}")
            }
            Self::Descriptor {
                listen_fds,
                fd,
                reason,
            } => write!(f, "LISTEN_FDS={listen_fds}: descriptor {fd}: {reason}"),
            Self::Variable {
                name,
                value,
                expected,
            } => {
                let value = value.to_string_lossy();
                write!(f, "{name}={}: this is not {expected}", value.escape_debug())
            }
            Self::Bind { address, error } => {
                write!(f, "cannot listen on {address}: {error}")
            }
            Self::Missing(kind) => {
                write!(f, "no {kind} among the sockets passed")?;
                f.write_str(match kind {
                    Kind::Tcp => {
                        ": give start_server a --port, or the .socket unit a ListenStream="
                    }
                    Kind::Udp => {
                        ": give start_server a --port with a u before the number, \
                         or the .socket unit a ListenDatagram="
                    }
                    Kind::Unix => {
                        ": give start_server a --path, or the .socket unit a ListenStream="
                    }
                    Kind::UnixDatagram => ": give the .socket unit a ListenDatagram=",
                    Kind::UnixSeqpacket => ": give the .socket unit a ListenSequentialPacket=",
                    Kind::Other => "",
                })
            }
            Self::WrongKind { wanted, found } => {
                write!(f, "this socket is no {wanted}, but of this kind: {found}")
            }
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("this is not KEY=FD"),
            Self::NotANumber => f.write_str("what follows the = is not a descriptor's number"),
            Self::StandardOutput => f.write_str("1 and 2 are standard output and standard error"),
            Self::Repeated => f.write_str("another entry has the same descriptor"),
            Self::Closed => f.write_str("no such descriptor is open"),
            Self::NotInherited => f.write_str(
                "the descriptor was opened by this process itself (it is close-on-exec): \
                 take the sockets before opening anything",
            ),
            Self::NotASocket => f.write_str("the descriptor is not a socket"),
            Self::NotListening => {
                f.write_str("the socket does not listen: call listen(2) on it before passing it on")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

// `source` is `None`: each message contains its cause already.
impl error::Error for Error {}
impl error::Error for EntryError {}
