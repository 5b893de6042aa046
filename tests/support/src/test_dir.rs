//! The directory of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Process, wait_for};

/// A temporary directory. All processes that were started in it are killed when it is dropped.
#[derive(Debug)]
pub struct TestDir {
    directory: TempDir,
}

impl TestDir {
    /// A new directory whose name begins with `prefix`.
    pub fn new(prefix: &str) -> Self {
        // canonical, to be compared with what /proc shows
        let parent = fs::canonicalize(std::env::temp_dir()).unwrap();
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        Self {
            directory: directory.unwrap(),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The path of the directory as text.
    pub fn text(&self) -> &str {
        self.root().to_str().unwrap()
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The content of a file; empty if there is no such file.
    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    /// Writes a file, and creates the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The names of the files in a directory, unsorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        names.flat_map(|name| name.into_string()).collect()
    }

    /// Runs a shell script in the directory, with `arguments` as `$1`, `$2`…; the script must succeed.
    ///
    /// A program to be executed is written by a shell, never by this process: a child that another thread forks
    /// meanwhile would inherit the open descriptor, and exec would fail with "Text file busy".
    #[track_caller]
    pub fn shell(&self, script: &str, arguments: &[&Path]) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-ec", script, "sh"]).args(arguments);
        let done = shell.current_dir(self.root()).stdin(Stdio::null()).status();
        let done = done.unwrap();
        assert!(done.success(), "{script}: {done}");
    }

    /// The entry in the environment of all processes that belong to this test.
    pub(crate) fn mark(&self) -> (&'static str, &Path) {
        ("DIR", self.root())
    }

    /// All processes of this test, zombies excluded: those with `DIR` in their environment, and those whose working
    /// directory is here.
    pub fn processes(&self) -> Vec<Process> {
        let (name, value) = self.mark();
        let entry = format!("{name}={}", value.display());
        let belongs = |process: &Process| {
            process.has_environment_entry(&entry)
                || process
                    .directory()
                    .is_some_and(|directory| directory.starts_with(self.root()))
        };
        Process::all().into_iter().filter(belongs).collect()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        // again and again: a killed process may just have forked
        wait_for(|| {
            let processes = self.processes();
            processes
                .iter()
                .for_each(|process| process.signal(Signal::SIGKILL));
            processes.is_empty().then_some(())
        });
    }
}

/// The content of a file; empty if there is no such file.
pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
