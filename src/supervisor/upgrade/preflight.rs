//! The preflight of an upgrade: the new program is started beside the old one, with the state that it would
//! get, and has to confirm that it understands that state.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::c_string;
use super::executable::Version;
use crate::error::{DisplayIoError, why};
use crate::machine::{SupervisorState, Time};
use crate::supervisor::Supervisor;
use crate::sys;
use crate::sys::process::{ChildStep, Program, describe_status};
use crate::sys::reexec::FdSet;
use crate::types::{Pid, Signal};

/// How long a preflight may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a program prints last if it understands the state.
pub(super) const UNDERSTOOD: &str = "start_server: state understood\n";

/// The option that asks for a preflight. A program that knows no upgrades does not know the option either, and
/// refuses.
const OPTION: &str = "--preflight";

/// How much of a program's output is read, in bytes.
const LONGEST_OUTPUT: u64 = 4096;

/// How much of its first line is logged, in characters.
const LONGEST_REASON: usize = 300;

/// A program whose preflight is under way.
pub(super) struct Preflight {
    pid: Pid,
    version: Version,
    output: OwnedFd,
    pub(super) until: Time,
}

impl Supervisor {
    pub(super) fn start_preflight(&mut self) {
        match self.spawn_preflight() {
            Ok(preflight) => self.upgrade.preflight = Some(preflight),
            Err(reason) => self.refuse_upgrade(&reason),
        }
    }

    fn spawn_preflight(&self) -> Result<Preflight, String> {
        let Some((executable, command_line)) = &self.upgrade.program else {
            return Err("this is another program, which cannot be started anew".to_owned());
        };
        let path = executable.path();
        let shown = path.display();
        let version = executable.version();
        let version =
            version.map_err(|e| format!("cannot find {shown}: {}", DisplayIoError(&e)))?;
        tracing::info!("upgrade: trying {shown}");

        let system = |e: io::Error| format!("cannot try {shown}: {}", DisplayIoError(&e));
        let saved_state = self.write_state(&mut FdSet::default()).map_err(system)?;
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
        let (output, write_end) = pipe.map_err(|errno| system(errno.into()))?;
        let output = sys::fd::move_above(output, self.min_fd).map_err(system)?;
        let write_end = sys::fd::move_above(write_end, self.min_fd).map_err(system)?;
        sys::fd::set_blocking(&write_end).map_err(system)?; // programs do not expect EAGAIN

        let mut argv = vec![c_string(path.into()), c_string(OPTION.into())];
        argv.extend(command_line.args.iter().cloned().map(c_string));
        let variables = sys::environment::to_pass_on().into_iter();
        let mut environment: Vec<CString> = variables
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                c_string(name)
            })
            .collect();
        environment.push(saved_state.variable());
        let program = Program {
            argv: &argv,
            environment: &environment,
            pid_env: &[],
            dir: None,
            identity: None,
            keep: &[saved_state.number()],
            stdio: [None, Some(write_end.as_fd()), Some(write_end.as_fd())],
            exact: true,
            own_group: true,
            cgroup: None,
        };
        let pid = sys::process::spawn(&program).map_err(|failed| {
            let action = match failed.step {
                ChildStep::Exec => "exec",
                _ => "start",
            };
            format!("failed to {action} {shown}: {}", why(failed.errno))
        })?;
        Ok(Preflight {
            pid,
            version,
            output,
            until: self.now().saturating_add(TIMEOUT),
        })
    }

    /// Returns whether this process was the preflight. If it has passed, the upgrade is due.
    pub(in crate::supervisor) fn preflight_died(&mut self, pid: Pid, status: i32) -> bool {
        let preflight = self.upgrade.preflight.take_if(|p| p.pid == pid);
        let Some(preflight) = preflight else {
            return false;
        };
        let mut output = Vec::new();
        // The pipe does not block: a process that the program has left behind may still have the write end.
        let _ = File::from(preflight.output)
            .take(LONGEST_OUTPUT)
            .read_to_end(&mut output);
        // The dynamic loader may have printed a warning before.
        if status == 0 && output.ends_with(UNDERSTOOD.as_bytes()) {
            self.upgrade.due = Some(preflight.version);
            return true;
        }
        let result = match status {
            0 => "has not said that it understands our state (is it a start_server?)".to_owned(),
            _ => format!("has failed the preflight ({})", describe_status(status)),
        };
        let mut reason = format!("{} {result}", self.executable());
        let output = String::from_utf8_lossy(&output);
        let mut lines = output.lines().map(str::trim);
        if let Some(line) = lines.find(|line| !line.is_empty()) {
            let line = line.chars().filter(|c| !c.is_control());
            reason.push_str(": ");
            reason.extend(line.take(LONGEST_REASON));
        }
        self.refuse_upgrade(&reason);
        true
    }

    /// Ends a preflight when its time is up, and an upgrade when the supervisor stops.
    pub(in crate::supervisor) fn tick_upgrade(&mut self, now: Time) {
        if self.upgrade.is_under_way()
            && self.machine.supervisor_state() == SupervisorState::Stopping
        {
            tracing::info!("the upgrade is given up: everything is being stopped");
            self.kill_preflight();
            self.upgrade.due = None;
            self.answer_upgrade_while_stopping();
        } else if self.upgrade.deadline().is_some_and(|until| until <= now) {
            self.kill_preflight();
            let seconds = TIMEOUT.as_secs();
            let reason = format!("{} was still busy after {seconds} s", self.executable());
            self.refuse_upgrade(&reason);
        }
    }

    /// The process is reaped like any unknown child.
    pub(in crate::supervisor) fn kill_preflight(&mut self) {
        if let Some(preflight) = self.upgrade.preflight.take() {
            let _ = sys::process::kill_group(preflight.pid, Signal::KILL);
        }
    }
}
