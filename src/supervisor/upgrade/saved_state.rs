//! The saved state of a supervisor: written by one release, read by the next.
//!
//! A release has to understand the states of older ones. So a field that is added later is
//! `#[serde(default)]`; nothing is renamed or removed, and no meaning changes, without another
//! [`FORMAT`]. An older release refuses fields that it does not know, since it would lose them.

use std::os::fd::RawFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::SavedServer;
use crate::files::SavedCommand;
use crate::history::History;
use crate::log;
use crate::machine::{MachineState, Time};
use crate::sockets::SavedSocket;
use crate::supervisor::Supervisor;
use crate::sys;
use crate::sys::daemon::Launcher;
use crate::sys::reexec::FdSet;
use crate::sys::signal_state::SignalState;
use crate::systemd::NotifierState;
use crate::takeover::SavedAdopted;
use crate::types::Pid;
use crate::worker::{Reading, SavedNotifySockets};

/// The format of the state. Another number is refused.
const FORMAT: u32 = 1;

/// Everything that the command line does not say. Descriptors are given by number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedState {
    format: u32,
    /// The release that wrote this.
    pub(super) release: String,
    pub(super) pid: u32,
    /// The lowest number that no socket has or will have.
    pub(super) min_fd: RawFd,
    /// The limit of open files that the supervisor was started with, if it has raised the limit.
    pub(super) open_files: Option<u64>,
    /// Time 0 of the machine, on the monotonic clock.
    pub(super) origin: Duration,
    pub(super) signals: RawFd,
    /// The signal dispositions and the signal mask that workers get.
    pub(super) signal_state: SignalState,
    pub(super) machine: MachineState,
    pub(super) history: History,
    pub(super) sockets: Vec<SavedSocket>,
    pub(super) notify_sockets: SavedNotifySockets,
    pub(super) envdir: Reading,
    pub(super) notifier: NotifierState,
    pub(super) pid_file: Option<RawFd>,
    /// The status file that this supervisor has written, if it has.
    pub(super) status_file: Option<RawFd>,
    pub(super) status_retry: Option<Time>,
    pub(super) log_command: Option<SavedCommand>,
    pub(super) log_queue: log::Queue,
    pub(super) launcher: Option<RawFd>,
    pub(super) last_failure: Option<String>,
    pub(super) check: Option<Pid>,
    pub(super) control: Option<SavedServer>,
    pub(super) adopted: Vec<SavedAdopted>,
}

impl SavedState {
    /// # Errors
    /// What is not understood, as a sentence.
    pub(super) fn parse(text: &[u8]) -> Result<SavedState, String> {
        /// The fields of every format.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            release: String,
        }
        let head: Head = serde_json::from_slice(text).map_err(|e| format!("no state: {e}"))?;
        let Head { format, release } = head;
        let ours = env!("CARGO_PKG_VERSION");
        if format != FORMAT {
            return Err(format!(
                "release {ours} does not understand the state of release {release}: its format is \
                 {format}, and {FORMAT} is known"
            ));
        }
        serde_json::from_slice(text).map_err(|e| {
            format!("release {ours} does not understand the state of release {release}: {e}")
        })
    }
}

impl Supervisor {
    /// Returns what the next program has to know, and adds what it has to keep open to `fds`.
    pub(super) fn save(&self, fds: &mut FdSet) -> SavedState {
        SavedState {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            min_fd: self.min_fd,
            open_files: sys::limits::raised_from(),
            origin: self.origin,
            signals: self.signals.save(fds),
            signal_state: SignalState::at_start(),
            machine: self.machine.save(),
            history: self.history.clone(),
            sockets: self.sockets.save(fds),
            notify_sockets: self.notify_sockets.save(fds),
            envdir: self.environment.reading().clone(),
            notifier: self.notifier.state(),
            pid_file: self.pid_file.as_ref().map(|file| file.save(fds)),
            status_file: self.status_file.as_ref().and_then(|file| file.save(fds)),
            status_retry: self.status_retry,
            log_command: self.log.save(fds),
            log_queue: log::save(),
            launcher: self.launcher.as_ref().map(|line: &Launcher| line.save(fds)),
            last_failure: self.last_failure.clone(),
            check: self.check,
            control: self.control.as_ref().map(|server| server.save(fds)),
            adopted: self.adopted.save(fds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Written by release 0.1.0. Must not change after that release.
    const FORMAT_1: &str = include_str!("format_1.json");

    fn sample() -> Value {
        serde_json::from_str(FORMAT_1).unwrap()
    }

    #[test]
    fn state_of_the_first_release_is_read_without_a_loss() {
        let state = SavedState::parse(FORMAT_1.as_bytes()).unwrap();
        let mut written = serde_json::to_value(&state).unwrap();
        let sample = sample();
        // Fields may have been added since.
        let known = sample.as_object().unwrap();
        let fields = written.as_object_mut().unwrap();
        fields.retain(|name, _| known.contains_key(name));
        assert_eq!(written, sample);
    }

    #[test]
    fn unknown_fields_and_formats_are_refused() {
        let mut newer = sample();
        newer["release"] = json!("9.0");
        newer["a_new_field"] = json!(1);
        let refused = SavedState::parse(newer.to_string().as_bytes()).unwrap_err();
        assert!(refused.contains("release 9.0"), "{refused}");
        assert!(refused.contains("a_new_field"), "{refused}");

        let mut nested = sample();
        nested["machine"]["workers"][0]["a_new_field"] = json!(1);
        assert!(SavedState::parse(nested.to_string().as_bytes()).is_err());

        let other_format = json!({"format": 2, "release": "9.0", "anything": []});
        let refused = SavedState::parse(other_format.to_string().as_bytes()).unwrap_err();
        assert!(refused.contains("its format is 2"), "{refused}");
        for garbage in ["", "[]", "{}", "{\"format\":1}"] {
            assert!(SavedState::parse(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
