//! Why a supervisor could not start, or a command failed. Each error names the thing and says what is wrong
//! with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The reason why a supervisor could not start, or a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The options are not valid.
    Usage(String),
    /// A host name has no IPv4 address, or cannot be looked up.
    Resolve {
        /// The name.
        host: String,
        /// The cause.
        source: io::Error,
    },
    /// A socket could not be created, bound or moved to its descriptor number.
    Socket {
        /// The action that failed: "bind to", "listen on", …
        action: &'static str,
        /// The address, as on the command line.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The inherited descriptors are not those that the environment describes, or cannot be used.
    Inherited(String),
    /// The descriptor numbers of the sockets do not fit below the hard limit of open files,
    /// RLIMIT_NOFILE.
    OpenFiles {
        /// The highest descriptor number of a socket.
        highest: i32,
        /// The limit. Descriptor numbers are less.
        limit: i32,
    },
    /// A `--path` exists and must not be replaced.
    PathTaken {
        /// The path.
        path: PathBuf,
        /// The kind of file at the path.
        what: &'static str,
    },
    /// A socket could not be had, for another process has the address.
    AddressHeld {
        /// What was tried.
        source: Box<Error>,
        /// Which process, and what to do.
        hint: String,
    },
    /// A file could not be used.
    File {
        /// The kind of file: "pid file", "status file", "log file".
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another supervisor holds the lock of the pid file.
    Locked {
        /// The pid file.
        path: PathBuf,
        /// The pid in it.
        pid: Option<i32>,
    },
    /// No supervisor is running there.
    NotRunning(String),
    /// The supervisor did not do what was asked, or refused it.
    NotDone(String),
    /// The supervisor did not do what was asked within the time-out.
    TimedOut(String),
    /// A system call failed that every supervisor needs.
    System {
        /// The action that failed: "read signals", …
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// The exit status for this error: 2 for usage, 3 if no supervisor is running, 4 for time-outs, else
    /// 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::NotRunning(_) => 3,
            Error::TimedOut(_) => 4,
            _ => 1,
        }
    }

    pub(crate) fn file(what: &'static str, path: &Path, source: io::Error) -> Error {
        Error::File {
            what,
            path: path.to_owned(),
            source,
        }
    }

    /// Makes an error of a system call on a socket, for `map_err`. `action` completes "failed to".
    pub(crate) fn socket<E: Into<io::Error>>(
        action: &'static str,
        address: impl ToString,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Socket {
            action,
            address: address.to_string(),
            source: source.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(message)
            | Error::NotRunning(message)
            | Error::NotDone(message)
            | Error::Inherited(message)
            | Error::TimedOut(message) => f.write_str(message),
            Error::Resolve { host, source } => {
                write!(
                    f,
                    "failed to resolve host {host}: {}",
                    DisplayIoError(source)
                )
            }
            Error::Socket {
                action,
                address,
                source,
            } => {
                write!(
                    f,
                    "failed to {action} {address}: {}",
                    DisplayIoError(source)
                )?;
                match source.raw_os_error() {
                    Some(libc::EACCES) if *action == "bind to" && !address.contains('/') => {
                        f.write_str(" (ports below 1024 need root, or CAP_NET_BIND_SERVICE)")
                    }
                    Some(libc::EADDRINUSE) => f.write_str(" (ss -lp shows by whom)"),
                    _ => Ok(()),
                }
            }
            Error::OpenFiles { highest, limit } => write!(
                f,
                "no room for sockets up to descriptor {highest}, and for our own: the limit of open \
                 files is {limit} and cannot be raised here (ulimit -Hn; LimitNOFILE= in a unit)"
            ),
            Error::PathTaken { path, what } => {
                write!(f, "refusing to replace {}: {what}", path.display())
            }
            Error::AddressHeld { source, hint } => write!(f, "{source}: {hint}"),
            Error::File { what, path, source } => {
                write!(
                    f,
                    "cannot use {what} {}: {}",
                    path.display(),
                    DisplayIoError(source)
                )
            }
            Error::Locked { path, pid } => {
                write!(
                    f,
                    "pid file {} is locked by a running supervisor",
                    path.display()
                )?;
                match pid {
                    Some(pid) => write!(f, " (pid:{pid})"),
                    None => Ok(()),
                }
            }
            Error::System { action, source } => {
                write!(f, "failed to {action}: {}", DisplayIoError(source))
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Resolve { source, .. }
            | Error::Socket { source, .. }
            | Error::File { source, .. }
            | Error::System { source, .. } => Some(source),
            Error::AddressHeld { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Displays an I/O error as strerror(3) does, without Rust's "(os error 2)".
pub(crate) struct DisplayIoError<'a>(pub(crate) &'a io::Error);

impl fmt::Display for DisplayIoError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(code) => {
                let text = self.0.to_string();
                f.write_str(text.trim_end_matches(&format!(" (os error {code})")))?;
                match code {
                    libc::EAFNOSUPPORT => f.write_str(
                        " (in a unit, RestrictAddressFamilies= has to list AF_UNIX, AF_INET and AF_INET6 as far as they \
                         are used)",
                    ),
                    _ => Ok(()),
                }
            }
            None => self.0.fmt(f),
        }
    }
}

/// The text of strerror(3) for an errno.
pub(crate) fn why(errno: Errno) -> String {
    DisplayIoError(&errno.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_about_ports_is_given_for_ports_only() {
        let denied = |address: &str| {
            let error = Error::Socket {
                action: "bind to",
                address: address.to_owned(),
                source: Errno::EACCES.into(),
            };
            error.to_string()
        };
        assert!(denied("127.0.0.1:80").ends_with("CAP_NET_BIND_SERVICE)"));
        assert!(denied("/run/web.sock").ends_with("Permission denied"));
    }
}
