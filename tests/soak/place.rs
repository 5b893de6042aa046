//! The directory of a run: `small` in it is a small file system, if there can be one, with what the
//! supervisor writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Process;

pub(crate) struct Place {
    directory: TempDir,
    disk: bool,
}

/// The size of the small file system, in megabytes.
const DISK: u64 = 8;

impl Place {
    pub(crate) fn new(disk: bool) -> Place {
        let parent = fs::canonicalize(std::env::temp_dir()).unwrap();
        let directory = tempfile::Builder::new().prefix("soak").tempdir_in(parent);
        let place = Place {
            directory: directory.unwrap(),
            disk,
        };
        for name in ["tmp", "env", "small"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        if disk {
            place.shell(&format!("mount -t tmpfs -o size={DISK}m soak small"));
        }
        place.shell(&format!("cp {} start_server", binary()));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// A file; empty when there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Has a shell do it, in the directory. What is to be executed must never be open for writing in
    /// this process: a child forked meanwhile would have it, too, and the kernel refuse to run it.
    pub(crate) fn shell(&self, script: &str) {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-ec", script]).current_dir(self.text());
        let done = shell.stdin(Stdio::null()).status().unwrap();
        assert!(done.success(), "{script}: {done}");
    }

    /// All processes of this run, zombies apart.
    pub(crate) fn processes(&self) -> Vec<Process> {
        Process::with_environment(&format!("PLACE={}", self.text()), self.directory.path())
    }

    /// What is there, of names that say `which`.
    pub(crate) fn names(&self, directory: &str, which: impl Fn(&str) -> bool) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
        let names = entries.flatten().map(|e| e.file_name().into_string());
        names.flatten().filter(|name| which(name)).collect()
    }
}

pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_start_server")
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only when something has gone wrong is anybody left.
        let own = |process: &Process| process.directory() == fs::canonicalize(self.text()).ok();
        for process in self.processes().into_iter().filter(own) {
            process.signal(Signal::SIGKILL);
        }
        if self.disk {
            let small: &Path = &self.path("small");
            let _ = Command::new("umount").arg("-l").arg(small).status();
        }
    }
}
