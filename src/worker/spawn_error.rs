//! Why a worker was not started, and whether another attempt may succeed.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use super::Spawner;
use crate::error::why;
use crate::machine::SpawnFailure;
use crate::sys::process::{ChildError, ChildStep};

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
}

impl Spawner {
    /// The error for a failed start of the program `argv`.
    pub(super) fn error(&self, argv: &[CString], error: ChildError) -> SpawnError {
        let ChildError { step, errno } = error;
        let why = why(errno);
        let reason = match step {
            ChildStep::Exec => {
                let program = text(argv.first().map(CString::as_c_str));
                format!("failed to exec {program}: {why}{}", self.too_long(errno))
            }
            ChildStep::Chdir => format!("failed to chdir to {}: {why}", text(self.dir.as_deref())),
            ChildStep::Identity => {
                let identity = self.identity.as_ref();
                let names = identity.map(|id| format!("user {}, group {}", id.user, id.group));
                format!("failed to become {}: {why}", names.unwrap_or_default())
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

    /// For E2BIG: the longest of the variables that grow with the number of sockets. Otherwise empty.
    fn too_long(&self, errno: Errno) -> String {
        let longest = self.common.iter().max_by_key(|v| v.as_bytes().len());
        let Some(variable) = longest.filter(|_| errno == Errno::E2BIG) else {
            return String::new();
        };
        let (variable, length) = (variable.to_string_lossy(), variable.as_bytes().len());
        let name = variable.split('=').next().unwrap_or_default();
        format!(" ({name} has {length} bytes; Linux takes 131071 of one variable, execve(2))")
    }
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
