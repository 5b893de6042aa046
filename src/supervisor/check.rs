//! `--check-cmd`: a command that runs before a reload. If it fails, the reload has failed.

use super::Supervisor;
use crate::machine::{Event, Generation};
use crate::sys;
use crate::sys::process::describe_status;
use crate::types::{Pid, Signal};

impl Supervisor {
    /// Starts the check. Returns its failure if it cannot be started.
    pub(super) fn start_check(&mut self, generation: Generation) -> Option<Event> {
        self.report_check_to_clients();
        let command = self.check_command.as_deref().unwrap_or_default();
        tracing::info!("checking first: {}", command.to_string_lossy());
        match self.spawner.check(command, generation, &self.environment) {
            Ok(pid) => {
                self.check = Some(pid);
                None
            }
            Err(error) => {
                tracing::error!("{}", error.reason);
                Some(self.check_failed(None, &error.reason))
            }
        }
    }

    /// Kills the check, whose result does not matter any more. The process is reaped like any unknown child.
    pub(super) fn kill_check(&mut self) {
        if let Some(pid) = self.check.take() {
            let _ = sys::process::kill_group(pid, Signal::KILL);
        }
    }

    /// Returns the result of the check if this process was the check.
    pub(super) fn check_died(&mut self, pid: Pid, status: i32) -> Option<Event> {
        self.check.take_if(|check| *check == pid)?;
        if status == 0 {
            return Some(Event::CheckPassed);
        }
        let reason = format!("the check failed ({})", describe_status(status));
        Some(self.check_failed(Some(pid), &reason))
    }

    fn check_failed(&mut self, pid: Option<Pid>, reason: &str) -> Event {
        self.history.check_failed(pid, reason);
        Event::CheckFailed
    }
}
