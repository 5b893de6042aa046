//! A process as /proc shows it, and the search for those that a test left behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::look_for;

/// A process by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Process(pub(crate) i32);

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Process {
    /// All processes there are.
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self))
            .collect()
    }

    /// Those whose environment has the entry `NAME=value`, zombies apart; and those that are in `directory` in the middle
    /// of an exec, when there is no environment to be seen.
    pub(crate) fn with_environment(entry: &str, directory: &Path) -> Vec<Self> {
        let is_one = |process: &Self| {
            let environ = process.read("environ");
            if environ.is_empty() {
                return process
                    .directory()
                    .is_some_and(|place| place.starts_with(directory));
            }
            entries(&environ).iter().any(|e| e == entry)
        };
        Self::all().into_iter().filter(is_one).collect()
    }

    fn path(self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.to_string()).join(name)
    }

    /// A file of its /proc directory; empty when it is gone.
    pub(crate) fn read(self, name: &str) -> String {
        // in one go: when it makes an exec between two reads, the second finds nothing
        let mut bytes = vec![0; 1 << 18];
        let length = File::open(self.path(name)).and_then(|mut file| file.read(&mut bytes));
        String::from_utf8_lossy(&bytes[..length.unwrap_or(0)]).into_owned()
    }

    /// The fields of `stat` after the name: state, parent, group, session…
    fn stat(self) -> Vec<String> {
        let stat = self.read("stat");
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split_whitespace().map(str::to_owned).collect()
    }

    /// `R`, `S`, `Z`, …; `None` when there is no such process.
    pub(crate) fn state(self) -> Option<char> {
        self.stat().first()?.chars().next()
    }

    /// There and not a zombie.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self.state(), None | Some('Z' | 'X'))
    }

    pub(crate) fn parent(self) -> Option<Self> {
        self.stat().get(1)?.parse().ok().map(Self)
    }

    pub(crate) fn session(self) -> Option<Self> {
        self.stat().get(3)?.parse().ok().map(Self)
    }

    /// Its children, zombies among them.
    pub(crate) fn children(self) -> Vec<Self> {
        Self::all()
            .into_iter()
            .filter(|process| process.parent() == Some(self))
            .collect()
    }

    /// What it runs; `None` for a zombie, or when it is gone.
    pub(crate) fn executable(self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// Where it is.
    pub(crate) fn directory(self) -> Option<PathBuf> {
        fs::read_link(self.path("cwd")).ok()
    }

    /// `NAME=value` entries, as they were at exec.
    pub(crate) fn environ(self) -> Vec<String> {
        // empty for a moment in the middle of an exec
        let environ = look_for(|| {
            let environ = self.read("environ");
            (!environ.is_empty() || !self.is_alive()).then_some(environ)
        });
        entries(&environ.unwrap_or_default())
    }

    /// The value of an environment variable, as it was at exec.
    pub(crate) fn variable(self, name: &str) -> Option<String> {
        self.environ().iter().find_map(|entry| {
            entry
                .strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    }

    /// A line `NAME: value` of `status`.
    pub(crate) fn status(self, name: &str) -> Option<String> {
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

    /// A signal set of `status` (`SigIgn`, `SigBlk`, …), a bit each, signal 1 at bit 0.
    pub(crate) fn signal_set(self, name: &str) -> Option<u64> {
        u64::from_str_radix(&self.status(name)?, 16).ok()
    }

    /// Its open descriptors and what they are.
    pub(crate) fn descriptors(self) -> BTreeMap<i32, String> {
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

    /// The open flags of a descriptor (`O_NONBLOCK`, `O_CLOEXEC`, …).
    pub(crate) fn descriptor_flags(self, fd: i32) -> Option<i32> {
        let info = self.read(&format!("fdinfo/{fd}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        i32::from_str_radix(flags.trim(), 8).ok()
    }

    /// Sends `signal`; that the process is gone already is no failure here.
    pub(crate) fn signal(self, signal: Signal) {
        assert!(self.0 > 1, "{self} is no process of ours");
        let _ = kill(Pid::from_raw(self.0), signal);
    }
}

fn entries(environ: &str) -> Vec<String> {
    environ.split_terminator('\0').map(str::to_owned).collect()
}
