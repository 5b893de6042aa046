//! The command of `--log-file='| COMMAND'`, and the pipe to it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stderr, dup2_stdout};
use serde::{Deserialize, Serialize};

use crate::error::{DisplayIoError, Error};
use crate::log;
use crate::machine::Time;
use crate::sys;
use crate::sys::pidfd::PidFd;
use crate::sys::process::{Program, describe_status};
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// The least time from one start of the command to the next.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long the command may take to read the rest of the log when the supervisor ends.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A log command and the pipe to it. The supervisor has the read end open, too: what is written while no
/// command runs stays in the pipe for the next one, and no writer gets SIGPIPE.
pub(super) struct LogCommand {
    command: OsString,
    read_end: OwnedFd,
    /// Standard output and standard error of the command: those that the supervisor was started with.
    output: [OwnedFd; 2],
    run: Run,
    /// The command ends at once each time, and that was reported.
    reported: bool,
}

/// The latest run of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// `None` if the command has ended.
    child: Option<Pid>,
    started: Time,
    /// When it is to be started again.
    restart_at: Option<Time>,
}

/// A log command, as saved for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedCommand {
    read_end: RawFd,
    output: [RawFd; 2],
    run: Run,
}

impl LogCommand {
    /// Starts the command, and sends standard output and standard error to it.
    pub(super) fn open(
        command: &OsStr,
        min_fd: RawFd,
        daemon: bool,
        now: Time,
    ) -> Result<LogCommand, Error> {
        let error = |action| move |source| Error::System { action, source };
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        let (read_end, write_end) = pipe.map_err(error("make a pipe for the log command"))?;
        let read_end = sys::fd::move_above(read_end, min_fd);
        let mut log = LogCommand {
            command: command.to_owned(),
            read_end: read_end.map_err(error("keep the log's pipe"))?,
            output: original_output(min_fd, daemon).map_err(error("keep standard error"))?,
            run: Run {
                child: None,
                started: now,
                restart_at: None,
            },
            reported: false,
        };
        log.start(now).map_err(error("start the log command"))?;
        redirect_output(&write_end).map_err(error("redirect the log"))?;
        log::into_pipe(&write_end, min_fd);
        Ok(log)
    }

    pub(super) fn save(&self, fds: &mut FdSet) -> SavedCommand {
        SavedCommand {
            read_end: fds.keep(&self.read_end),
            output: self.output.each_ref().map(|fd| fds.keep(fd)),
            run: self.run.clone(),
        }
    }

    pub(super) fn resume(command: &OsStr, saved: SavedCommand) -> io::Result<LogCommand> {
        let [out, err] = saved.output;
        Ok(LogCommand {
            command: command.to_owned(),
            read_end: sys::fd::adopt(saved.read_end)?,
            output: [sys::fd::adopt(out)?, sys::fd::adopt(err)?],
            run: saved.run,
            reported: false,
        })
    }

    /// Starts the command in a process group of its own: Ctrl-C at the terminal is for the server, whose last
    /// lines the command still has to read.
    fn start(&mut self, now: Time) -> io::Result<()> {
        self.run.started = now;
        self.run.restart_at = None;
        let command = c_string(self.command.clone())?;
        let environment = environment();
        let [out, err] = &self.output;
        let program = Program {
            argv: &[c"/bin/sh".into(), c"-c".into(), command],
            environment: &environment,
            pid_env: &[],
            identity: None,
            dir: None,
            keep: &[],
            stdio: [&self.read_end, out, err].map(|fd| Some(fd.as_fd())),
            exact: false,
            own_group: true,
            cgroup: None,
        };
        let child = sys::process::spawn(&program).map_err(|e| io::Error::from(e.errno))?;
        self.run.child = Some(child);
        Ok(())
    }

    /// Returns whether this was the command; if so, it is started again, by [`LogCommand::restart`].
    pub(super) fn died(&mut self, pid: Pid, status: i32, now: Time) -> bool {
        if self.run.child != Some(pid) {
            return false;
        }
        self.run.child = None;
        let earliest = self.run.started + RESTART_PAUSE;
        self.report(now < earliest, status);
        self.run.restart_at = Some(now.max(earliest));
        true
    }

    /// Reports a command that ended soon after its start. It does not read the log, so the line goes to its
    /// standard error: once, and only if it can be written without waiting.
    fn report(&mut self, short_lived: bool, status: i32) {
        if std::mem::replace(&mut self.reported, short_lived) || !short_lived {
            return;
        }
        let line = format!(
            "start_server: the log command ended at once ({}), and is started again and again; \
             workers that write more than its pipe holds will wait for it\n",
            describe_status(status)
        );
        let [_, err] = &self.output;
        let mut fds = [PollFd::new(err.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
            let _ = nix::unistd::write(err, line.as_bytes());
        }
    }

    /// When [`LogCommand::restart`] starts the command.
    pub(super) fn restart_at(&self) -> Option<Time> {
        self.run.restart_at
    }

    /// Starts a command that has ended, if it is time to.
    pub(super) fn restart(&mut self, now: Time) {
        if self.run.restart_at.is_none_or(|at| at > now) {
            return;
        }
        match self.start(now) {
            Ok(()) => tracing::warn!("the log command died and has been restarted"),
            Err(e) => {
                self.run.restart_at = Some(now + RESTART_PAUSE);
                tracing::error!("failed to restart the log command: {}", DisplayIoError(&e));
            }
        }
    }

    /// Closes the pipe, and waits for the command to read the rest, for 2 seconds at most.
    pub(super) fn close(mut self, now: Time) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        if self.run.child.is_none() {
            let _ = self.start(now); // to read the rest
        }
        log::linger(CLOSE_TIMEOUT);
        // The command sees the end of its input when all write ends are closed. The log opens its own from
        // standard error, so standard error is redirected first.
        let [out, err] = &self.output;
        let _ = dup2_stdout(out);
        let _ = dup2_stderr(err);
        log::to_stderr(libc::STDERR_FILENO + 1); // the sockets are closed
        if let Some(Ok(command)) = self.run.child.map(PidFd::open) {
            let mut fds = [PollFd::new(command.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, time_left(deadline));
        }
    }
}

/// Sends standard output and standard error to this file or pipe, dup2(2).
pub(super) fn redirect_output(to: impl AsFd) -> io::Result<()> {
    dup2_stdout(&to)?;
    Ok(dup2_stderr(&to)?)
}

fn time_left(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
}

/// Duplicates of standard output and standard error. A daemon has /dev/null in place of both.
fn original_output(min_fd: RawFd, daemon: bool) -> io::Result<[OwnedFd; 2]> {
    let above = |fd: BorrowedFd<'_>| sys::fd::move_above(fd.try_clone_to_owned()?, min_fd);
    if daemon {
        let null = File::options().write(true).open("/dev/null")?;
        return Ok([above(null.as_fd())?, above(null.as_fd())?]);
    }
    Ok([above(io::stdout().as_fd())?, above(io::stderr().as_fd())?])
}

/// The variables that programs inherit from the supervisor, as `NAME=VALUE`.
fn environment() -> Vec<CString> {
    let variables = sys::environment::to_pass_on().into_iter();
    let variables = variables.filter_map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        c_string(name).ok()
    });
    variables.collect()
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(|_| io::Error::other("a NUL byte in it"))
}
