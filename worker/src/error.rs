//! What can be wrong with what we were handed.

use std::ffi::OsString;
use std::{error, fmt, io};

/// Why the sockets cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `SERVER_STARTER_PORT` is not set.
    NotStarted,
    /// [`listeners`](crate::listeners()) was called before.
    AlreadyTaken,
    /// One entry of `SERVER_STARTER_PORT` is wrong.
    Entry {
        /// The entry, `KEY=FD`, as it stands in the variable.
        entry: OsString,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// There is no TCP listener (or none left) among the sockets.
    NoTcpListener,
    /// There is no unix stream listener (or none left) among the sockets.
    NoUnixListener,
}

/// What is wrong with an entry of `SERVER_STARTER_PORT`.
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
    /// The kernel refused to tell more about it.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => {
                f.write_str("not started by start_server? SERVER_STARTER_PORT is not set")
            }
            Self::AlreadyTaken => f.write_str(
                "the sockets of SERVER_STARTER_PORT are taken already: \
                 listeners() gives them out once per process",
            ),
            Self::Entry { entry, reason } => {
                write!(f, "SERVER_STARTER_PORT: entry {entry:?}: {reason}")
            }
            Self::NoTcpListener => {
                f.write_str("no TCP listener among the sockets from start_server: give it a --port")
            }
            Self::NoUnixListener => f.write_str(
                "no unix stream listener among the sockets from start_server: give it a --path",
            ),
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
                 call listeners() before opening anything",
            ),
            Self::NotASocket => f.write_str("the descriptor is not a socket"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

// `source` stays empty: each message says its cause in full already.
impl error::Error for Error {}
impl error::Error for EntryError {}
