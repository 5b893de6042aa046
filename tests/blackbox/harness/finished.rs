//! A command of ours: while it runs, and how it ended.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};

use super::setup::Scene;
use super::{BOUND, Process, look_for};

/// A child of the test, killed when dropped. Its output goes to files, which nobody needs to drain.
pub(crate) struct Running {
    pub(super) child: Child,
    pub(super) command: String,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

/// How a command ended and what it said.
pub(crate) struct Finished {
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) pid: Process,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The directory it ran in, when that was its own.
    pub(super) scene: Option<Scene>,
}

impl Running {
    pub(crate) fn process(&self) -> Process {
        Process(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it has written to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Finished {
        let Some(status) = look_for(|| self.exited()) else {
            panic!(
                "{}: still running after {BOUND:?}\n--- its stderr:\n{}",
                self.command,
                self.stderr()
            );
        };
        let stdout = std::fs::read(&self.stdout).unwrap_or_default();
        Finished {
            command: self.command.clone(),
            status,
            pid: self.process(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: self.stderr(),
            scene: None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The exit status, unless a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// A file of the directory it ran in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scene
            .as_ref()
            .expect("it ran in a supervisor's directory")
            .path(name)
    }

    /// What it started and left behind in that directory.
    pub(crate) fn survivors(&self) -> Vec<Process> {
        self.scene.as_ref().map_or_else(Vec::new, Scene::survivors)
    }

    /// Exited with `code`, having said each of `words` on standard error.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code(), Some(code), "wrong exit status\n{self}");
        self.expect_words(words)
    }

    /// Exited with some status other than 0, having said each of `words` on standard error.
    #[track_caller]
    pub(crate) fn expect_failure(&self, words: &[&str]) -> &Self {
        assert!(
            self.code().is_some_and(|code| code != 0),
            "should have failed\n{self}"
        );
        self.expect_words(words)
    }

    #[track_caller]
    fn expect_words(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is missing on standard error\n{self}"
            );
        }
        self
    }
}

impl std::fmt::Display for Finished {
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
