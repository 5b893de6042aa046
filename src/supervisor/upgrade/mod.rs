//! Upgrade in place: the program is replaced by its next release, in the same process.
//!
//! The new program gets everything that the old one has: workers, sockets, locks, clients, and what is
//! under way. After exec there is no way back, so a preflight comes first (`preflight.rs`). If that
//! fails, nothing has changed.

mod executable;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod preflight;
mod resume;
mod saved_state;

pub use resume::preflight;
pub(super) use resume::resume;

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use super::Supervisor;
use crate::config::CommandLine;
use crate::control::protocol::{Awaited, Failure};
use crate::error::{DisplayIoError, why};
use crate::log;
use crate::machine::{SupervisorState, Time};
use crate::sys;
use crate::sys::reexec::{FdSet, StateFile};
use executable::{Executable, Version};
use preflight::Preflight;

/// The upgrade that is under way, if any.
pub(super) struct Upgrade {
    /// The program, and its command line. `None` if this is another program, with a supervisor as a part.
    program: Option<(Executable, CommandLine)>,
    preflight: Option<Preflight>,
    /// The version of the file that has passed the preflight.
    due: Option<Version>,
}

impl Upgrade {
    pub(super) fn new(command_line: Option<CommandLine>) -> Upgrade {
        let program = command_line.map(|line| (Executable::find(&line.program), line));
        Upgrade {
            program,
            preflight: None,
            due: None,
        }
    }

    /// The time at which the preflight has to be over.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.preflight.as_ref().map(|preflight| preflight.until)
    }

    fn is_under_way(&self) -> bool {
        self.preflight.is_some() || self.due.is_some()
    }
}

impl Supervisor {
    /// Starts an upgrade. If one is under way, its outcome is that of this request, too: the file
    /// that is run is the one that is there at the end.
    pub(super) fn request_upgrade(&mut self) {
        if self.machine.supervisor_state() == SupervisorState::Stopping {
            tracing::info!("no upgrade any more: everything is being stopped");
            return self.answer_upgrade_while_stopping();
        }
        if !self.upgrade.is_under_way() {
            self.start_preflight();
        }
    }

    /// Writes down what the next program has to know, and adds what it has to keep open to `fds`.
    fn write_state(&self, fds: &mut FdSet) -> io::Result<StateFile> {
        let state = serde_json::to_vec(&self.save(fds)).map_err(io::Error::from)?;
        StateFile::write(&state, self.min_fd)
    }

    /// The path of the program, for messages.
    fn executable(&self) -> String {
        let program = self.upgrade.program.as_ref();
        let path = program.map(|(executable, _)| executable.path().display().to_string());
        path.unwrap_or_default()
    }

    /// Replaces this program, if the preflight has passed. Must be called between two iterations of the
    /// loop, when no event waits to be handled. Returns if no upgrade is due, or exec fails.
    pub(super) fn upgrade_if_due(&mut self) {
        let Some(checked) = self.upgrade.due.take() else {
            return;
        };
        let Some((executable, command_line)) = &self.upgrade.program else {
            return;
        };
        let path = c_string(executable.path().into());
        let words = std::iter::once(&command_line.program).chain(&command_line.args);
        let argv: Vec<CString> = words.cloned().map(c_string).collect();
        log::flush(); // lines that are written now need not be handed over
        let mut fds = FdSet::default();
        let saved_state = self.write_state(&mut fds);
        // As late as possible: it takes time to write a long state.
        if executable.version().ok() != Some(checked) {
            return self.start_preflight(); // the file has been replaced since
        }
        let reason = match saved_state {
            Ok(saved_state) => {
                let errno = sys::reexec::exec(&path, &argv, &fds, &saved_state);
                format!("failed to exec {}: {}", self.executable(), why(errno))
            }
            Err(e) => {
                let path = self.executable();
                format!("cannot hand over to {path}: {}", DisplayIoError(&e))
            }
        };
        self.refuse_upgrade(&reason);
    }

    fn refuse_upgrade(&mut self, reason: &str) {
        log::upgrade_refused(reason).write();
        let reason = reason.to_owned();
        let failure = Failure::UpgradeFailed { reason };
        self.finish::<()>(Awaited::Upgrade, Err(&failure));
    }

    fn answer_upgrade_while_stopping(&mut self) {
        self.finish::<()>(Awaited::Upgrade, Err(&Failure::Stopping));
    }
}

/// Arguments, variables and paths came from the kernel, so they have no NUL byte.
fn c_string(text: OsString) -> CString {
    CString::new(text.into_vec()).unwrap_or_default()
}
