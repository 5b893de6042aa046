//! `--check-cmd`: a command that looks, before a reload starts anything, whether it would go well.

use super::Supervisor;
use crate::machine::{Event, Generation};
use crate::sys;
use crate::sys::process::describe_status;
use crate::types::{Pid, Signal};

impl Supervisor {
    /// Starts the check. If that fails, so has the check.
    pub(super) fn begin_check(&mut self, generation: Generation) -> Option<Event> {
        let command = self.check_command.as_deref().unwrap_or_default();
        tracing::info!("checking first: {}", command.to_string_lossy());
        match self.spawner.check(command, generation, &self.environment) {
            Ok(pid) => {
                self.check = Some(pid);
                None
            }
            Err(failure) => {
                tracing::error!("{}", failure.reason);
                Some(self.check_failed(None, &failure.reason))
            }
        }
    }

    /// Its result is not wanted any more. It is reaped as any stranger is.
    pub(super) fn end_check(&mut self) {
        if let Some(pid) = self.check.take() {
            let _ = sys::process::kill_group(pid, Signal::KILL);
        }
    }

    /// What its death means, if this was the check.
    pub(super) fn check_died(&mut self, pid: Pid, status: i32) -> Option<Event> {
        self.check.take_if(|check| *check == pid)?;
        if status == 0 {
            return Some(Event::CheckPassed);
        }
        let how = format!("the check failed ({})", describe_status(status));
        Some(self.check_failed(Some(pid), &how))
    }

    fn check_failed(&mut self, pid: Option<Pid>, reason: &str) -> Event {
        self.history.check_failed(pid, reason);
        Event::CheckFailed
    }
}
