//! `--log-file`: where standard output and standard error of supervisor and workers go.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, dup2_stdout};
use serde::{Deserialize, Serialize};

use super::safe_open;
use crate::error::{DisplayIoError, Error};
use crate::log;
use crate::machine::Time;
use crate::sys;
use crate::sys::pidfd::PidFd;
use crate::sys::process::Program;
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFileSpec {
    /// To the end of a file.
    File(PathBuf),
    /// To the standard input of a shell command.
    Command(OsString),
}

impl LogFileSpec {
    /// `FILE`, or `| COMMAND`.
    pub fn parse(text: &OsStr) -> Result<LogFileSpec, String> {
        let bytes = text.as_bytes().trim_ascii_start();
        let target = match bytes.strip_prefix(b"|") {
            Some(command) => {
                LogFileSpec::Command(OsString::from_vec(command.trim_ascii_start().to_vec()))
            }
            None => LogFileSpec::File(text.into()),
        };
        match &target {
            LogFileSpec::Command(command) if command.is_empty() => {
                Err("the command after '|' is missing".to_owned())
            }
            LogFileSpec::File(path) if path.as_os_str().is_empty() => {
                Err("empty; a file or '| COMMAND' is wanted".to_owned())
            }
            _ => Ok(target),
        }
    }
}

impl fmt::Display for LogFileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFileSpec::File(path) => write!(f, "{}", path.display()),
            LogFileSpec::Command(command) => write!(f, "| {}", command.to_string_lossy()),
        }
    }
}

/// The open log.
pub(crate) enum LogFile {
    /// Standard error, as we found it.
    Inherited,
    File {
        path: PathBuf,
        min_fd: RawFd,
    },
    Command(LogCommand),
}

/// The least time from one start of a log command to the next.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long a log command may take to read the rest when all is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// A log command and the pipe to it. We keep the read end, too: what is written while no command
/// runs waits in the pipe for the next one, and no writer ever gets SIGPIPE.
pub(crate) struct LogCommand {
    command: OsString,
    read_end: OwnedFd,
    /// What standard output and standard error were before, for the command itself.
    outer: [OwnedFd; 2],
    child: Option<Pid>,
    started: Time,
    restart_at: Option<Time>,
    /// It ends as soon as it has been started, and that has been said.
    complained: bool,
}

/// A log command, as the next program in this process gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedCommand {
    read_end: RawFd,
    outer: [RawFd; 2],
    child: Option<Pid>,
    started: Time,
    restart_at: Option<Time>,
}

impl LogFile {
    /// Sends standard output and standard error to `target`. What is opened for this lives at
    /// descriptor `min_fd` or higher. A daemon's log command gets /dev/null for its own output.
    pub(crate) fn open(
        target: Option<&LogFileSpec>,
        min_fd: RawFd,
        daemon: bool,
        now: Time,
    ) -> Result<LogFile, Error> {
        match target {
            None => Ok(LogFile::Inherited),
            Some(LogFileSpec::File(path)) => {
                let log = LogFile::File {
                    path: path.clone(),
                    min_fd,
                };
                log.reopen().map_err(|e| Error::file("log file", path, e))?;
                Ok(log)
            }
            Some(LogFileSpec::Command(command)) => {
                LogCommand::open(command, min_fd, daemon, now).map(LogFile::Command)
            }
        }
    }

    /// For the next program in this process; none: standard error is all there is to it.
    pub(crate) fn save(&self, fds: &mut FdSet) -> Option<SavedCommand> {
        let LogFile::Command(log) = self else {
            return None;
        };
        let [out, err] = &log.outer;
        Some(SavedCommand {
            read_end: fds.keep(&log.read_end),
            outer: [fds.keep(out), fds.keep(err)],
            child: log.child,
            started: log.started,
            restart_at: log.restart_at,
        })
    }

    /// Standard output and standard error lead to it already.
    pub(crate) fn resume(
        target: Option<&LogFileSpec>,
        min_fd: RawFd,
        saved: Option<SavedCommand>,
    ) -> io::Result<LogFile> {
        Ok(match (target, saved) {
            (Some(LogFileSpec::Command(command)), Some(saved)) => {
                let [out, err] = saved.outer;
                LogFile::Command(LogCommand {
                    command: command.clone(),
                    read_end: sys::fd::adopt(saved.read_end)?,
                    outer: [sys::fd::adopt(out)?, sys::fd::adopt(err)?],
                    child: saved.child,
                    started: saved.started,
                    restart_at: saved.restart_at,
                    complained: false,
                })
            }
            (Some(LogFileSpec::File(path)), _) => LogFile::File {
                path: path.clone(),
                min_fd,
            },
            (Some(LogFileSpec::Command(_)) | None, _) => LogFile::Inherited,
        })
    }

    /// Opens a log file anew by its name, after somebody has renamed the old one. Workers keep
    /// the old one until they are replaced.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let LogFile::File { path, min_fd } = self else {
            return Ok(());
        };
        // A fifo without a reader is an error (ENXIO): to wait for one would be to hang.
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        let file = safe_open::open(path, flags, Some(Mode::from_bits_truncate(0o666)))?;
        sys::fd::set_blocking(&file)?;
        redirect_output(&file)?;
        log::to_stderr(*min_fd);
        Ok(())
    }

    /// Whether this was the log command; if so, another is started, in [`tick`](LogFile::tick).
    pub(crate) fn died(&mut self, pid: Pid, status: i32, now: Time) -> bool {
        let LogFile::Command(log) = self else {
            return false;
        };
        if log.child != Some(pid) {
            return false;
        }
        log.child = None;
        log.complain(status, now);
        log.restart_at = Some(now.max(log.started + RESTART_PAUSE));
        true
    }

    /// When [`tick`](LogFile::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            LogFile::Command(log) => log.restart_at,
            LogFile::Inherited | LogFile::File { .. } => None,
        }
    }

    /// Starts a log command in place of one that died.
    pub(crate) fn tick(&mut self, now: Time) {
        let LogFile::Command(log) = self else { return };
        if log.restart_at.is_none_or(|at| at > now) {
            return;
        }
        match log.start(now) {
            Ok(()) => tracing::warn!("the log command died and has been restarted"),
            Err(e) => {
                log.restart_at = Some(now + RESTART_PAUSE);
                tracing::error!("failed to restart the log command: {}", DisplayIoError(&e));
            }
        }
    }

    /// After the last line: lets a log command read what is left, but not for ever.
    pub(crate) fn close(self, now: Time) {
        match self {
            LogFile::Command(log) => log.close(now),
            LogFile::Inherited | LogFile::File { .. } => log::linger(FAREWELL),
        }
    }
}

fn redirect_output(to: impl AsFd) -> io::Result<()> {
    dup2_stdout(&to)?;
    Ok(dup2_stderr(&to)?)
}

impl LogCommand {
    fn open(command: &OsStr, min_fd: RawFd, daemon: bool, now: Time) -> Result<LogCommand, Error> {
        let error = |action| move |source| Error::System { action, source };
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        let (read_end, write_end) = pipe.map_err(error("make a pipe for the log command"))?;
        let read_end =
            sys::fd::move_above(read_end, min_fd).map_err(error("keep the log's pipe"))?;
        let outer = outer_output(min_fd, daemon).map_err(error("keep standard error"))?;
        let mut log = LogCommand {
            command: command.to_owned(),
            read_end,
            outer,
            child: None,
            started: now,
            restart_at: None,
            complained: false,
        };
        log.start(now).map_err(error("start the log command"))?;
        redirect_output(&write_end).map_err(error("redirect the log"))?;
        log::into_pipe(&write_end, min_fd);
        Ok(log)
    }

    /// In a process group of its own: Ctrl-C at the terminal is for the server, and its last
    /// words should still be read.
    fn start(&mut self, now: Time) -> io::Result<()> {
        self.started = now;
        self.restart_at = None;
        let argv = [
            c"/bin/sh".into(),
            c"-c".into(),
            c_string(self.command.clone())?,
        ];
        let environment: Vec<CString> = sys::environment::to_pass_on()
            .into_iter()
            .filter_map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                c_string(name).ok()
            })
            .collect();
        let [out, err] = &self.outer;
        let program = Program {
            argv: &argv,
            environment: &environment,
            pid_env: &[],
            identity: None,
            dir: None,
            keep: &[],
            stdio: [
                Some(self.read_end.as_fd()),
                Some(out.as_fd()),
                Some(err.as_fd()),
            ],
            exact: false,
            own_group: true,
            cgroup: None,
        };
        self.child = Some(sys::process::spawn(&program).map_err(|e| io::Error::from(e.errno))?);
        Ok(())
    }

    /// Where it does not read lines nobody would see the one that says so: so that goes where its own
    /// complaints go. Once, and only if it can be written at once.
    fn complain(&mut self, status: i32, now: Time) {
        let short_lived = now < self.started + RESTART_PAUSE;
        if std::mem::replace(&mut self.complained, short_lived) || !short_lived {
            return;
        }
        let how = sys::process::describe_status(status);
        let line = format!(
            "start_server: the log command ended at once ({how}), and is started again and again; \
             workers that write more than its pipe holds will wait for it\n"
        );
        let [_, err] = &self.outer;
        let mut fds = [PollFd::new(err.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
            let _ = nix::unistd::write(err, line.as_bytes());
        }
    }

    fn close(mut self, now: Time) {
        let deadline = Instant::now() + FAREWELL;
        if self.child.is_none() {
            let _ = self.start(now); // somebody has to read the rest
        }
        log::linger(FAREWELL);
        // Without a writer the command sees the end of its input. What we write to is opened anew from
        // standard error, so that has to be another one first.
        let [out, err] = &self.outer;
        let _ = dup2_stdout(out);
        let _ = dup2_stderr(err);
        log::to_stderr(libc::STDERR_FILENO + 1); // the sockets have gone
        if let Some(Ok(command)) = self.child.map(PidFd::open) {
            let mut fds = [PollFd::new(command.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, left_until(deadline));
        }
    }
}

fn left_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
}

fn outer_output(min_fd: RawFd, daemon: bool) -> io::Result<[OwnedFd; 2]> {
    if daemon {
        let null = File::options().write(true).open("/dev/null")?;
        let null = OwnedFd::from(null);
        return Ok([
            sys::fd::move_above(null.try_clone()?, min_fd)?,
            sys::fd::move_above(null, min_fd)?,
        ]);
    }
    let keep = |fd: BorrowedFd<'_>| sys::fd::move_above(fd.try_clone_to_owned()?, min_fd);
    Ok([keep(io::stdout().as_fd())?, keep(io::stderr().as_fd())?])
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(|_| io::Error::other("a NUL byte in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_commands() {
        let parse = |text: &str| LogFileSpec::parse(OsStr::new(text));
        assert_eq!(
            parse("/var/log/x"),
            Ok(LogFileSpec::File("/var/log/x".into()))
        );
        assert_eq!(
            parse(" | cat -u"),
            Ok(LogFileSpec::Command("cat -u".into()))
        );
        assert_eq!(parse("|cat"), Ok(LogFileSpec::Command("cat".into())));
        assert!(parse("| ").is_err());
        assert!(parse("").is_err());
    }
}
