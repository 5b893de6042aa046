//! Why a worker was not started, and whether another attempt may succeed.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use crate::error::why;
use crate::machine::SpawnFailure;
use crate::sys::process::{ChildError, ChildStep, Program};

/// Why a worker was not started: the text for the log, the kind for the machine.
#[derive(Debug)]
pub(crate) struct SpawnError {
    pub(crate) reason: String,
    pub(crate) kind: SpawnFailure,
}

impl SpawnError {
    /// A failure that the next attempt may not have.
    pub(crate) fn transient(reason: String) -> SpawnError {
        let kind = SpawnFailure::Transient;
        SpawnError { reason, kind }
    }

    /// The error of a failed start of `program`.
    pub(super) fn new(program: &Program<'_>, error: ChildError) -> SpawnError {
        let ChildError { step, errno } = error;
        let why = why(errno);
        let reason = match step {
            ChildStep::Exec => {
                let name = text(program.argv.first().map(CString::as_c_str));
                let hint = too_long(program, errno);
                format!("failed to exec {name}: {why}{hint}")
            }
            ChildStep::Chdir => format!("failed to chdir to {}: {why}", text(program.dir)),
            ChildStep::Identity => {
                let who = program.identity;
                let who = who.map(|who| format!("user {}, group {}", who.user, who.group));
                format!("failed to become {}: {why}", who.unwrap_or_default())
            }
            ChildStep::Fork => format!("failed to fork: {why}"),
            ChildStep::Descriptors => format!("failed to pass on a descriptor: {why}"),
        };
        let kind = match step {
            ChildStep::Exec | ChildStep::Chdir | ChildStep::Identity => kind_of(errno),
            ChildStep::Fork | ChildStep::Descriptors => SpawnFailure::Transient,
        };
        SpawnError { reason, kind }
    }
}

/// For E2BIG: the longest variable, usually one that grows with the number of sockets. Otherwise empty.
fn too_long(program: &Program<'_>, errno: Errno) -> String {
    let variables = program.environment.iter().map(|v| v.as_bytes());
    let longest = variables.max_by_key(|v| v.len());
    let Some(variable) = longest.filter(|_| errno == Errno::E2BIG) else {
        return String::new();
    };
    let name = variable.split(|byte| *byte == b'=').next();
    let name = String::from_utf8_lossy(name.unwrap_or_default());
    let length = variable.len();
    format!(" ({name} has {length} bytes; Linux takes 131071 of one variable, execve(2))")
}

/// Transient errors may end without a change of the configuration.
fn kind_of(errno: Errno) -> SpawnFailure {
    match errno {
        Errno::EAGAIN
        | Errno::ETIMEDOUT
        | Errno::ENOMEM
        | Errno::ENFILE
        | Errno::EMFILE
        | Errno::ETXTBSY
        | Errno::EIO
        | Errno::EINTR => SpawnFailure::Transient,
        _ => SpawnFailure::Permanent,
    }
}

fn text(string: Option<&CStr>) -> String {
    let string = string.unwrap_or_default();
    string.to_string_lossy().into_owned()
}
