//! What can be wrong with what we were handed.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::{error, fmt, io, process};

use crate::socket::Kind;

/// Why the sockets cannot be had. Each names the variable, the entry or the descriptor, and what to
/// do: print it and exit. A supervisor then keeps the generation it has.
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
    /// Nobody has handed sockets to this process: `SERVER_STARTER_PORT` is not set, and there is
    /// no `LISTEN_FDS`, or it is for another process.
    NotStarted {
        /// `LISTEN_PID`, when `LISTEN_FDS` is for that process: a shell that did not `exec`, say.
        listen_pid: Option<u32>,
    },
    /// The sockets were given out before. A descriptor has one owner.
    AlreadyTaken,
    /// One entry of `SERVER_STARTER_PORT` is wrong.
    Entry {
        /// The entry, `KEY=FD`, as it stands in the variable.
        entry: OsString,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// One of the descriptors that `LISTEN_FDS` counts is wrong.
    Descriptor {
        /// The value of `LISTEN_FDS`.
        listen_fds: RawFd,
        /// The descriptor, from 3 up.
        fd: RawFd,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_PIDFDID` or `LISTEN_FDNAMES` has a value that makes no
    /// sense.
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: OsString,
        /// What it should be.
        expected: String,
    },
    /// The default address cannot be bound.
    Bind {
        /// The address as the caller gave it.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// There is no socket of this kind (or none left).
    Missing(Kind),
    /// The socket is of another kind than the one it was to become.
    WrongKind {
        /// What it was to be.
        wanted: Kind,
        /// What it is.
        found: Kind,
    },
}

/// What is wrong with a descriptor, or with the entry that names it.
#[derive(Debug)]
#[non_exhaustive]
pub enum EntryError {
    /// It is not `KEY=FD`: there is no `=`, or nothing before it.
    Malformed,
    /// What follows the first `=` is not a decimal number from 0 to 2147483647.
    NotANumber,
    /// The descriptor is 1 or 2: standard output and standard error are never a worker's socket.
    StandardOutput,
    /// An earlier entry has the same descriptor.
    Repeated,
    /// No descriptor of this number is open (`EBADF`).
    Closed,
    /// The descriptor is close-on-exec, so this process opened it, or took it over, itself.
    NotInherited,
    /// The descriptor is something other than a socket (`ENOTSOCK`).
    NotASocket,
    /// A stream or sequential-packet socket on which nobody has called `listen(2)`.
    NotListening,
    /// The kernel refused to tell more about it.
    Io(io::Error),
}

impl Error {
    /// Whether nobody has handed sockets to this process: the time to bind one's own.
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
                "the sockets handed to this process are taken already: \
                 they are given out once per process",
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
                write!(f, "no {kind} among the sockets handed over")?;
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
            Self::NotListening => f.write_str(
                "the socket does not listen: call listen(2) on it before handing it over",
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

// `source` stays empty: each message says its cause in full already.
impl error::Error for Error {}
impl error::Error for EntryError {}
