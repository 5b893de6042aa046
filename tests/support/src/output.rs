//! A command: while it runs, and how it ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::Signal;

use crate::test_dir::read;
use crate::{BOUND, Process, TestDir, wait_for};

/// A child of the test, killed when dropped. Its output goes to files, so that no reader is needed.
pub struct Running {
    child: Child,
    pub(crate) command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a command ended, and its output.
#[derive(Debug)]
pub struct Output {
    /// The command line.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// Its process, if that is known.
    pid: Option<Process>,
    /// Its directory, if it had one of its own.
    pub(crate) dir: Option<TestDir>,
}

impl Running {
    /// Starts the command, whose output was directed to these files.
    #[track_caller]
    pub fn start(command: &mut Command, stdout: PathBuf, stderr: PathBuf) -> Self {
        let text = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
        Self {
            child,
            command: text,
            stdout,
            stderr,
        }
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// How it ended; `None` if it still runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let status = self.wait_exit();
        Output {
            command: self.command.clone(),
            status,
            pid: Some(self.process()),
            stdout: read(&self.stdout),
            stderr: self.stderr(),
            dir: None,
        }
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for(|| self.exited()).unwrap_or_else(|| {
            panic!(
                "{}: still running after {BOUND:?}\n--- its stderr:\n{}",
                self.command,
                self.stderr()
            )
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Runs a command to its end. For what ends by itself: there is no bound.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let text = format!("{command:?}");
        let output = command.output().unwrap_or_else(|e| panic!("{text}: {e}"));
        Self {
            command: text,
            status: output.status,
            pid: None,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            dir: None,
        }
    }

    /// Its process id, which is no longer in use.
    pub fn pid(&self) -> Process {
        self.pid.expect("a command that was started with `Running`")
    }

    /// The exit status; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// The path of a file in the directory it ran in.
    pub fn path(&self, name: &str) -> PathBuf {
        let dir = self.dir.as_ref();
        dir.expect("a command with a directory of its own")
            .path(name)
    }

    /// The content of a file in the directory it ran in; empty if there is no such file.
    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    /// The processes that it started and left behind.
    pub fn survivors(&self) -> Vec<Process> {
        self.dir.as_ref().map_or_else(Vec::new, TestDir::processes)
    }

    /// Its standard output, if it succeeded; a panic otherwise.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "failed\n{self}");
        self.stdout
    }

    /// It exited with `code`, and each of `words` is on its standard error.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code(), Some(code), "wrong exit status\n{self}");
        self.expect_words(words)
    }

    /// It exited with a status other than 0, and each of `words` is on its standard error.
    #[track_caller]
    pub fn expect_failure(&self, words: &[&str]) -> &Self {
        let failed = self.code().is_some_and(|code| code != 0);
        assert!(failed, "should have failed\n{self}");
        self.expect_words(words)
    }

    #[track_caller]
    fn expect_words(&self, words: &[&str]) -> &Self {
        for word in words {
            let found = self.stderr.contains(word);
            assert!(found, "{word:?} is missing on standard error\n{self}");
        }
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            status,
            stdout,
            stderr,
            ..
        } = self;
        write!(
            f,
            "{command}\n--- ended with {status}\n--- stdout:\n{stdout}--- stderr:\n{stderr}---"
        )
    }
}

/// The last lines of a text, joined by `separator`.
pub fn last_lines(text: &str, count: usize, separator: &str) -> String {
    let last: Vec<&str> = text.lines().rev().take(count).collect();
    last.into_iter().rev().collect::<Vec<_>>().join(separator)
}

/// A file that takes a command's output, after what is there already.
pub fn append_to(path: &Path) -> std::fs::File {
    let mut options = std::fs::File::options();
    options.create(true).append(true).open(path).unwrap()
}
