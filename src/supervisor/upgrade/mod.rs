//! Upgrade in place: the supervisor makes way for the next release of itself, in the same process.
//!
//! Workers, sockets, locks, clients and all that is under way are handed over. Because there is no way
//! back, there is a trial first: the new program is started beside us with the state that it would
//! get, and has to say that it understands it. If it does not, nothing has happened.

mod executable;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod resume;
mod state;

pub(super) use resume::resume;
pub use resume::try_state;

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::Supervisor;
use crate::config::CommandLine;
use crate::control::protocol::{Awaited, Failure};
use crate::error::{DisplayIoError, why};
use crate::log;
use crate::machine::{SupervisorState, Time};
use crate::sys;
use crate::sys::process::{ChildStep, Program, describe_status};
use crate::sys::reexec::{Kept, Legacy};
use crate::types::{Pid, Signal};
use executable::{Executable, Version};

/// How long a trial may take.
const TRIAL_TIME: Duration = Duration::from_secs(10);

/// What a program writes that has read the state and understands it.
const UNDERSTOOD: &str = "start_server: state understood\n";

/// The option that makes it a trial. A release that does not know upgrades does not know it either,
/// and refuses.
const TRIAL_OPTION: &str = "--try-state";

/// How this program is called, and whether that is being done again.
pub(super) struct Upgrade {
    /// None: we are part of another program, which would not know what to do.
    again: Option<(Executable, CommandLine)>,
    trial: Option<Trial>,
    /// The trial of this file has gone well.
    due: Option<Version>,
}

/// A program that is being tried.
struct Trial {
    pid: Pid,
    version: Version,
    /// What it writes.
    says: OwnedFd,
    until: Time,
}

impl Upgrade {
    pub(super) fn new(called: Option<CommandLine>) -> Upgrade {
        let again = called.map(|called| (Executable::find(&called.program), called));
        Upgrade {
            again,
            trial: None,
            due: None,
        }
    }

    /// When the trial has to be over.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.trial.as_ref().map(|trial| trial.until)
    }
}

impl Supervisor {
    /// An upgrade is asked for. If one is under way, its outcome is that of this request, too: the file
    /// that is run is the one that is there at the end.
    pub(super) fn upgrade_asked(&mut self) {
        if self.machine.supervisor_state() == SupervisorState::Stopping {
            tracing::info!("no upgrade any more: everything is being stopped");
            return self.upgrade_is_pointless();
        }
        if self.upgrade.trial.is_none() && self.upgrade.due.is_none() {
            self.try_upgrade();
        }
    }

    fn try_upgrade(&mut self) {
        if let Err(reason) = self.begin_trial() {
            self.upgrade_failed(&reason);
        }
    }

    fn begin_trial(&mut self) -> Result<(), String> {
        let Some((executable, called)) = &self.upgrade.again else {
            return Err("this is another program, which cannot be started anew".to_owned());
        };
        let path = executable.path();
        let shown = path.display();
        let version = executable.version();
        let version =
            version.map_err(|e| format!("cannot find {shown}: {}", DisplayIoError(&e)))?;
        tracing::info!("upgrade: trying {shown}");

        let system = |e: io::Error| format!("cannot try {shown}: {}", DisplayIoError(&e));
        let legacy = self.legacy(&mut Kept::default()).map_err(system)?;
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
        let (says, write_end) = pipe.map_err(|errno| system(errno.into()))?;
        let says = sys::fd::raise(says, self.min_fd).map_err(system)?;
        // Its own end blocks, as programs expect it.
        let write_end = sys::fd::raise(write_end, self.min_fd).map_err(system)?;
        sys::fd::set_blocking(&write_end).map_err(system)?;

        let mut argv = vec![c_string(path.as_os_str().to_owned())];
        argv.push(c_string(TRIAL_OPTION.into()));
        argv.extend(called.args.iter().cloned().map(c_string));
        let mut environment: Vec<CString> = sys::environment::to_pass_on()
            .into_iter()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                c_string(name)
            })
            .collect();
        environment.push(legacy.variable());
        let program = Program {
            argv: &argv,
            environment: &environment,
            pid_env: &[],
            dir: None,
            identity: None,
            keep: &[legacy.number()],
            stdio: [None, Some(write_end.as_fd()), Some(write_end.as_fd())],
            exact: true,
            own_group: true,
            cgroup: None,
        };
        let pid = sys::process::spawn(&program).map_err(|failed| {
            let what = match failed.step {
                ChildStep::Exec => "exec",
                _ => "start",
            };
            format!("failed to {what} {shown}: {}", why(failed.errno))
        })?;
        self.upgrade.trial = Some(Trial {
            pid,
            version,
            says,
            until: self.now().saturating_add(TRIAL_TIME),
        });
        Ok(())
    }

    /// Everything that the next program has to know. What it is to keep open is added to `kept`.
    fn legacy(&self, kept: &mut Kept) -> io::Result<Legacy> {
        let state = serde_json::to_vec(&self.save(kept)).map_err(io::Error::from)?;
        Legacy::write(&state, self.min_fd)
    }

    /// Whether this was the program that was being tried.
    pub(super) fn trial_died(&mut self, pid: Pid, status: i32) -> bool {
        let Some(trial) = self.upgrade.trial.take_if(|trial| trial.pid == pid) else {
            return false;
        };
        let mut said = Vec::new();
        // What it has left behind may go on writing, but not to us: this ends where there is nothing.
        let _ = std::fs::File::from(trial.says)
            .take(4096)
            .read_to_end(&mut said);
        // Before it others may have had a word: the loader, of a library that it cannot find.
        if status == 0 && said.ends_with(UNDERSTOOD.as_bytes()) {
            self.upgrade.due = Some(trial.version);
            return true;
        }
        let how = match status {
            0 => "has not said that it understands our state (is it a start_server?)".to_owned(),
            _ => format!("has failed its trial ({})", describe_status(status)),
        };
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().map(str::trim).find(|line| !line.is_empty());
        let mut reason = format!("{} {how}", self.successor());
        if let Some(line) = line {
            reason.push_str(": ");
            reason.extend(line.chars().filter(|c| !c.is_control()).take(300));
        }
        self.upgrade_failed(&reason);
        true
    }

    fn successor(&self) -> String {
        let path = self
            .upgrade
            .again
            .as_ref()
            .map(|(executable, _)| executable.path());
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    /// A trial that has had its time has failed; a stop makes it pointless.
    pub(super) fn look_after_trial(&mut self, now: Time) {
        let under_way = self.upgrade.trial.is_some() || self.upgrade.due.is_some();
        if under_way && self.machine.supervisor_state() == SupervisorState::Stopping {
            tracing::info!("the upgrade is given up: everything is being stopped");
            self.end_trial();
            self.upgrade.due = None;
            self.upgrade_is_pointless();
        } else if self.upgrade.deadline().is_some_and(|until| until <= now) {
            self.end_trial();
            let seconds = TRIAL_TIME.as_secs();
            let reason = format!("{} was still busy after {seconds} s", self.successor());
            self.upgrade_failed(&reason);
        }
    }

    fn upgrade_is_pointless(&mut self) {
        self.finish::<()>(Awaited::Upgrade, Err(&Failure::Stopping));
    }

    /// It is reaped as any stranger is.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = self.upgrade.trial.take() {
            let _ = sys::process::kill_group(trial.pid, Signal::KILL);
        }
    }

    /// Makes way, if that is what has been settled. To be called between two turns, when nothing that
    /// has been heard waits to be handled. Returns if there is nothing to do, or it cannot be done.
    pub(super) fn upgrade_if_due(&mut self) {
        let Some(tried) = self.upgrade.due.take() else {
            return;
        };
        let Some((executable, called)) = &self.upgrade.again else {
            return;
        };
        let path = c_string(executable.path().into());
        let words = std::iter::once(&called.program).chain(&called.args);
        let argv: Vec<CString> = words.cloned().map(c_string).collect();
        log::flush(); // not after it is settled which lines are still to be written
        let mut kept = Kept::default();
        let legacy = self.legacy(&mut kept);
        // As late as can be, for the state may be long.
        if executable.version().ok() != Some(tried) {
            return self.try_upgrade(); // it has been replaced since
        }
        let reason = match legacy {
            Ok(legacy) => {
                let errno = sys::reexec::exec(&path, &argv, &kept, &legacy);
                format!("failed to exec {}: {}", self.successor(), why(errno))
            }
            Err(e) => format!(
                "cannot hand over to {}: {}",
                self.successor(),
                DisplayIoError(&e)
            ),
        };
        self.upgrade_failed(&reason);
    }

    fn upgrade_failed(&mut self, reason: &str) {
        log::upgrade_refused(reason).write();
        let reason = reason.to_owned();
        let failure = Failure::UpgradeFailed { reason };
        self.finish::<()>(Awaited::Upgrade, Err(&failure));
    }
}

/// Arguments, variables and paths of ours have no NUL byte: they came from the kernel.
fn c_string(text: OsString) -> CString {
    CString::new(text.into_vec()).unwrap_or_default()
}
