//! The directory of one life, what is in it that is not the supervisor's, and what is left in the end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A directory, with files and a socket of others in it.
pub(crate) struct Place {
    directory: TempDir,
    /// What others have there, each with inode and content.
    others: Vec<(PathBuf, u64, Vec<u8>)>,
    _listener: UnixListener,
    /// Stands for systemd's end of NOTIFY_SOCKET.
    pub(crate) manager: UnixDatagram,
}

impl Place {
    /// `leftovers`: with those of a supervisor that was killed.
    pub(crate) fn new(leftovers: bool) -> Place {
        let parent = fs::canonicalize(std::env::temp_dir()).unwrap();
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("faults").tempdir_in(parent).unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["tmp", "env"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("env/FROM_ENVDIR"), "1\n").unwrap();
        fs::write(path("of-others"), "mine\n").unwrap();
        fs::write(path("tmp/of-others"), "mine\n").unwrap();
        let listener = UnixListener::bind(path("sock-of-others")).unwrap();
        let manager = UnixDatagram::bind(path("manager")).unwrap();
        manager.set_nonblocking(true).unwrap();
        if leftovers {
            drop(UnixListener::bind(path("sock")).unwrap());
            drop(UnixListener::bind(path("control")).unwrap());
            fs::write(path("pid"), "4194305\n").unwrap(); // more than any pid
            fs::write(path("status"), "7:4194305\n").unwrap();
        }
        let of_others = ["of-others", "tmp/of-others", "env/FROM_ENVDIR"];
        let sockets = ["sock-of-others", "manager"];
        let others = of_others.into_iter().chain(sockets).map(|name| {
            let path = path(name);
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            let content = fs::read(&path).unwrap_or_default();
            (path, inode, content)
        });
        let others = others.collect();
        Place {
            directory,
            others,
            _listener: listener,
            manager,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// What a file of it says; nothing, if it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything that the supervisor and the workers have said.
    pub(crate) fn said(&self) -> String {
        ["log.1", "log", "stderr"]
            .map(|name| self.read(name))
            .concat()
    }

    /// What of others' is not as it was.
    pub(crate) fn touched(&self) -> Option<String> {
        self.others.iter().find_map(|(path, inode, content)| {
            let same = fs::symlink_metadata(path).is_ok_and(|m| m.ino() == *inode)
                && fs::read(path).unwrap_or_default() == *content;
            (!same).then(|| self.name_of(path))
        })
    }

    /// What is there that was not put there by this harness and that is not to be left, by name.
    /// `leftovers`: those that were there from the start may still be there.
    pub(crate) fn left(&self, leaves: &[&str], leftovers: bool) -> Vec<String> {
        let mut found = BTreeSet::new();
        gather(self.directory.path(), &mut found);
        let ours = ["trace", "stdout", "stderr", "log", "log.1", "tmp", "env"];
        let stale = ["sock", "control", "pid", "status"];
        let is_stale = |path: &Path, name: &str| match name {
            "pid" => self.read(name) == "4194305\n",
            "status" => self.read(name) == "7:4194305\n",
            _ => std::os::unix::net::UnixStream::connect(path).is_err(),
        };
        let names = found.into_iter().filter(|path| {
            let name = self.name_of(path);
            let expected = ours.contains(&name.as_str())
                || leaves.contains(&name.as_str())
                || self.others.iter().any(|(other, ..)| other == path)
                || (leftovers && stale.contains(&name.as_str()) && is_stale(path, &name));
            !expected
        });
        names.map(|path| self.name_of(&path)).collect()
    }

    fn name_of(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.directory.path()).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    }

    /// The environment entry by which processes of this life are known.
    fn mark(&self) -> String {
        format!("PLACE={}", self.text())
    }

    /// Processes of this life that are there, strace apart; zombies, which are somebody's to reap, too.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let mark = self.mark();
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            command.trim() != "strace" && environ.split(|b| *b == 0).any(|e| e == mark.as_bytes())
        })
        .collect()
    }
}

fn gather(directory: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&path, into);
        }
        into.insert(path);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Again and again: what is killed may just have forked.
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
