//! What the environment of a process says of it, /proc/PID/environ of proc_pid_environ(5).

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use crate::machine::Generation;

/// What a supervisor has told a process, if one has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// `SERVER_STARTER_GENERATION` and `SERVER_STARTER_PORT`.
    Worker {
        generation: Generation,
        /// Keys, and the numbers of their descriptors.
        sockets: Vec<(OsString, RawFd)>,
    },
    /// There is no environment to be seen any more: some servers write their title over it, as
    /// `$0 = …` of Perl and setproctitle(3) do.
    Overwritten,
    /// One of these variables is missing, or is not what a supervisor writes.
    Nothing,
}

pub(super) fn parse(environ: &[u8]) -> Told {
    let variables = || {
        let entries = environ.split(|byte| *byte == 0);
        entries.filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (entry.get(..at)?, entry.get(at + 1..)?);
            is_name(name).then_some((name, value))
        })
    };
    if !environ.is_empty() && variables().next().is_none() {
        return Told::Overwritten;
    }
    let value_of = |wanted: &str| {
        let mut variables = variables();
        let found = variables.find(|(name, _)| *name == wanted.as_bytes())?;
        Some(found.1)
    };
    let generation = value_of("SERVER_STARTER_GENERATION").and_then(number);
    let sockets = value_of("SERVER_STARTER_PORT").and_then(sockets);
    match (generation, sockets) {
        (Some(generation), Some(sockets)) => Told::Worker {
            generation,
            sockets,
        },
        _ => Told::Nothing,
    }
}

fn is_name(name: &[u8]) -> bool {
    let starts = name.first().is_some_and(|b| !b.is_ascii_digit());
    starts && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// `KEY=FD;KEY=FD`.
fn sockets(value: &[u8]) -> Option<Vec<(OsString, RawFd)>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let socket = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let fd = number(entry.get(at + 1..)?)?;
        Some((OsStr::from_bytes(entry.get(..at)?).to_owned(), fd))
    };
    value.split(|byte| *byte == b';').map(socket).collect()
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_both_variables() {
        let environ = b"A=1\0SERVER_STARTER_PORT=80=3;/run/x=4\0SERVER_STARTER_GENERATION=7\0";
        let sockets = vec![("80".into(), 3), ("/run/x".into(), 4)];
        let worker = Told::Worker {
            generation: 7,
            sockets,
        };
        assert_eq!(parse(environ), worker);
        let none = parse(b"SERVER_STARTER_PORT=\0SERVER_STARTER_GENERATION=7\0");
        assert!(matches!(none, Told::Worker { sockets, .. } if sockets.is_empty()));
    }

    #[test]
    fn a_process_with_some_of_them_or_other_values_is_no_worker() {
        for environ in [
            "",
            "A=1\0",
            "SERVER_STARTER_PORT=80=3\0",
            "SERVER_STARTER_GENERATION=7\0",
            "SERVER_STARTER_PORT=80\0SERVER_STARTER_GENERATION=7\0",
            "SERVER_STARTER_PORT=80=x\0SERVER_STARTER_GENERATION=7\0",
            "SERVER_STARTER_PORT=80=-3\0SERVER_STARTER_GENERATION=7\0",
            "SERVER_STARTER_PORT=80=3;\0SERVER_STARTER_GENERATION=7\0",
            "SERVER_STARTER_PORT=80=3\0SERVER_STARTER_GENERATION=-7\0",
            "SERVER_STARTER_PORT=80=3\0SERVER_STARTER_GENERATION=\0",
            "SERVER_STARTER_PORT=80=3\0 SERVER_STARTER_GENERATION=7\0",
        ] {
            assert_eq!(parse(environ.as_bytes()), Told::Nothing, "{environ:?}");
        }
    }

    #[test]
    fn a_title_in_the_place_of_the_environment_says_nothing() {
        for environ in ["   ", "\0\0\0", "ter --workers=5\0\0\0"] {
            assert_eq!(parse(environ.as_bytes()), Told::Overwritten, "{environ:?}");
        }
    }
}
