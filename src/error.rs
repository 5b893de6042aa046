//! Why the supervisor could not start: each error names the thing and says what is wrong with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Anything that keeps a supervisor from starting, or a command from doing what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for makes no sense.
    Usage(String),
    /// A host name has no IPv4 address, or cannot be looked up.
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// A socket could not be made, bound or put on its descriptor number.
    Socket {
        /// What failed: "bind to", "listen on", …
        action: &'static str,
        /// The address, as on the command line.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What we inherited does not fit what we were told of it.
    Inherited(String),
    /// The sockets' descriptor numbers reach the limit of open files, RLIMIT_NOFILE, raised as far as
    /// we may.
    OpenFiles {
        /// The highest number a socket is to have.
        highest: i32,
        /// The limit: no number reaches it.
        limit: i32,
    },
    /// There is something at a `--path` that must not be removed.
    PathTaken {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A file could not be used.
    File {
        /// Which one: "pid file", "status file", "log file".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another supervisor holds the pid file's lock.
    Locked {
        /// The pid file.
        path: PathBuf,
        /// The pid in it.
        pid: Option<i32>,
    },
    /// There is no supervisor to talk to.
    NotRunning(String),
    /// The supervisor could not be made to do it.
    NotDone(String),
    /// The time that was given has passed.
    TimedOut(String),
    /// The system refused something every supervisor needs.
    System {
        /// What: "read signals", …
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The exit status that goes with it: 2 for usage, 3 when there is no supervisor, 4 for
    /// time-outs, 1 otherwise.
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
            _ => None,
        }
    }
}

/// An I/O error in the words of strerror(3), without Rust's "(os error 2)".
pub(crate) struct DisplayIoError<'a>(pub(crate) &'a io::Error);

impl fmt::Display for DisplayIoError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(code) => {
                let text = self.0.to_string();
                f.write_str(text.trim_end_matches(&format!(" (os error {code})")))
            }
            None => self.0.fmt(f),
        }
    }
}

/// The same for a bare errno.
pub(crate) fn why(errno: Errno) -> String {
    DisplayIoError(&errno.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_fit_what_they_are_about() {
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
