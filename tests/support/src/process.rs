//! A process as /proc shows it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_for;

/// A process, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Process(
    /// The process id.
    pub i32,
);

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Process {
    /// All processes of the machine.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self))
            .collect()
    }

    /// Whether its environment, as it was at exec, has the entry `NAME=value`.
    pub(crate) fn has_environment_entry(self, entry: &str) -> bool {
        entries(&self.read("environ")).iter().any(|it| it == entry)
    }

    fn path(self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.to_string()).join(name)
    }

    /// A file of its /proc directory; empty if the process does not exist.
    pub fn read(self, name: &str) -> String {
        // in one read(2): after an exec between two reads, the second would return nothing
        let mut bytes = vec![0; 1 << 18];
        let length = File::open(self.path(name)).and_then(|mut file| file.read(&mut bytes));
        String::from_utf8_lossy(&bytes[..length.unwrap_or(0)]).into_owned()
    }

    /// The fields of `stat` after the name: state, parent, process group, session…
    fn stat(self) -> Vec<String> {
        let stat = self.read("stat");
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split_whitespace().map(str::to_owned).collect()
    }

    /// `R`, `S`, `Z`…; `None` if the process does not exist.
    pub fn state(self) -> Option<char> {
        self.stat().first()?.chars().next()
    }

    /// Whether it exists and is not a zombie.
    pub fn is_alive(self) -> bool {
        !matches!(self.state(), None | Some('Z' | 'X'))
    }

    /// Its parent process.
    pub fn parent(self) -> Option<Self> {
        self.stat().get(1)?.parse().ok().map(Self)
    }

    /// The leader of its session.
    pub fn session(self) -> Option<Self> {
        self.stat().get(3)?.parse().ok().map(Self)
    }

    /// Its children, zombies included.
    pub fn children(self) -> Vec<Self> {
        Self::all()
            .into_iter()
            .filter(|process| process.parent() == Some(self))
            .collect()
    }

    /// The file it executes; `None` for a zombie, or if the process does not exist.
    pub fn executable(self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// Its working directory.
    pub fn directory(self) -> Option<PathBuf> {
        fs::read_link(self.path("cwd")).ok()
    }

    /// Its name, as ps(1) shows it.
    pub fn name(self) -> String {
        self.read("comm").trim().to_owned()
    }

    /// The `NAME=value` entries of its environment, as they were at exec.
    pub fn environ(self) -> Vec<String> {
        // empty for a moment during an exec
        let environ = wait_for(|| {
            let environ = self.read("environ");
            (!environ.is_empty() || !self.is_alive()).then_some(environ)
        });
        entries(&environ.unwrap_or_default())
    }

    /// The value of an environment variable, as it was at exec.
    pub fn variable(self, name: &str) -> Option<String> {
        self.environ().iter().find_map(|entry| {
            entry
                .strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    }

    /// The value of the line `NAME: value` of `status`.
    pub fn status(self, name: &str) -> Option<String> {
        let status = self.read("status");
        status.lines().find_map(|line| {
            Some(
                line.strip_prefix(name)?
                    .strip_prefix(':')?
                    .trim()
                    .to_owned(),
            )
        })
    }

    /// A signal set of `status` (`SigIgn`, `SigBlk`…): one bit per signal, signal 1 in bit 0.
    pub fn signal_set(self, name: &str) -> Option<u64> {
        u64::from_str_radix(&self.status(name)?, 16).ok()
    }

    /// Its open descriptors and what they refer to.
    pub fn descriptors(self) -> BTreeMap<i32, String> {
        let entries = fs::read_dir(self.path("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let describe = |entry: fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        };
        entries.filter_map(describe).collect()
    }

    /// The open flags of a descriptor (`O_NONBLOCK`, `O_CLOEXEC`…).
    pub fn descriptor_flags(self, fd: i32) -> Option<i32> {
        let info = self.read(&format!("fdinfo/{fd}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        i32::from_str_radix(flags.trim(), 8).ok()
    }

    /// Sends `signal`. A process that does not exist any more is not an error.
    pub fn signal(self, signal: Signal) {
        assert!(self.0 > 1, "{self} is not a process of this test");
        let _ = kill(Pid::from_raw(self.0), signal);
    }
}

fn entries(environ: &str) -> Vec<String> {
    environ.split_terminator('\0').map(str::to_owned).collect()
}
