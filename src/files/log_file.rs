//! `--log-file`: where standard output and standard error of supervisor and workers go.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::log_command::{CLOSE_TIMEOUT, LogCommand, SavedCommand, redirect_output};
use super::safe_open;
use crate::error::Error;
use crate::log;
use crate::machine::Time;
use crate::sys;
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// The value of `--log-file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFileSpec {
    /// A file, to which the log is appended.
    File(PathBuf),
    /// A shell command, which reads the log from its standard input.
    Command(OsString),
}

impl LogFileSpec {
    /// Parses `FILE` or `| COMMAND`.
    ///
    /// # Errors
    /// The file or the command is empty. A sentence fragment with the reason.
    pub fn parse(text: &OsStr) -> Result<LogFileSpec, String> {
        let bytes = text.as_bytes().trim_ascii_start();
        match bytes.strip_prefix(b"|").map(<[u8]>::trim_ascii_start) {
            Some(b"") => Err("the command after '|' is missing".to_owned()),
            Some(command) => {
                let command = OsString::from_vec(command.to_vec());
                Ok(LogFileSpec::Command(command))
            }
            None if text.is_empty() => Err("empty; a file or '| COMMAND' is wanted".to_owned()),
            None => Ok(LogFileSpec::File(text.into())),
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
pub(crate) struct LogFile(Output);

enum Output {
    /// Standard error, as it was at the start.
    Inherited,
    File {
        path: PathBuf,
        min_fd: RawFd,
    },
    Command(LogCommand),
}

impl LogFile {
    /// Sends standard output and standard error to `target`. What is opened for this is on descriptor
    /// `min_fd` or higher. The log command of a daemon has /dev/null as its own output.
    pub(crate) fn open(
        target: Option<&LogFileSpec>,
        min_fd: RawFd,
        daemon: bool,
        now: Time,
    ) -> Result<LogFile, Error> {
        let output = match target {
            None => Output::Inherited,
            Some(LogFileSpec::File(path)) => {
                open_file(path, min_fd).map_err(|e| Error::file("log file", path, e))?;
                let path = path.clone();
                Output::File { path, min_fd }
            }
            Some(LogFileSpec::Command(command)) => {
                Output::Command(LogCommand::open(command, min_fd, daemon, now)?)
            }
        };
        Ok(LogFile(output))
    }

    /// Keeps a log command's pipe open for the next program in this process. `None` if there is no command:
    /// standard error stays open anyway.
    pub(crate) fn save(&self, fds: &mut FdSet) -> Option<SavedCommand> {
        match &self.0 {
            Output::Command(command) => Some(command.save(fds)),
            Output::Inherited | Output::File { .. } => None,
        }
    }

    /// Resumes what the previous program in this process has saved. Standard output and standard error go to
    /// the log already.
    pub(crate) fn resume(
        target: Option<&LogFileSpec>,
        min_fd: RawFd,
        saved: Option<SavedCommand>,
    ) -> io::Result<LogFile> {
        Ok(LogFile(match (target, saved) {
            (Some(LogFileSpec::Command(command)), Some(saved)) => {
                Output::Command(LogCommand::resume(command, saved)?)
            }
            (Some(LogFileSpec::File(path)), _) => {
                let path = path.clone();
                Output::File { path, min_fd }
            }
            (Some(LogFileSpec::Command(_)) | None, _) => Output::Inherited,
        }))
    }

    /// Opens the log file at its path again, after another program has renamed it, logrotate(8). Workers
    /// write to the old file until they are replaced.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        match &self.0 {
            Output::File { path, min_fd } => open_file(path, *min_fd),
            Output::Inherited | Output::Command(_) => Ok(()),
        }
    }

    /// Returns whether this was the log command; if so, [`tick`](LogFile::tick) starts it again.
    pub(crate) fn died(&mut self, pid: Pid, status: i32, now: Time) -> bool {
        match &mut self.0 {
            Output::Command(command) => command.died(pid, status, now),
            Output::Inherited | Output::File { .. } => false,
        }
    }

    /// When [`tick`](LogFile::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.0 {
            Output::Command(command) => command.restart_at(),
            Output::Inherited | Output::File { .. } => None,
        }
    }

    /// Starts a log command that has died, if it is time to.
    pub(crate) fn tick(&mut self, now: Time) {
        if let Output::Command(command) = &mut self.0 {
            command.restart(now);
        }
    }

    /// Closes the log after the last line. Waits for the reader, for some seconds at most.
    pub(crate) fn close(self, now: Time) {
        match self.0 {
            Output::Command(command) => command.close(now),
            Output::Inherited | Output::File { .. } => log::linger(CLOSE_TIMEOUT),
        }
    }
}

/// Sends standard output and standard error to the end of a file.
fn open_file(path: &Path, min_fd: RawFd) -> io::Result<()> {
    // Opening a FIFO without a reader fails (ENXIO): waiting for a reader would block the supervisor.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
    let file = safe_open::open(path, flags, Some(Mode::from_bits_truncate(0o666)))?;
    sys::fd::set_blocking(&file)?;
    redirect_output(&file)?;
    log::to_stderr(min_fd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_file_is_a_file_or_a_command_after_a_bar() {
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
