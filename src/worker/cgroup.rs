//! A cgroup for each generation, if the cgroup of this process is delegated to it: in a unit with
//! `Delegate=yes`, systemd.resource-control(5), or in a container whose own cgroup is writable. No process
//! that a worker starts can leave the cgroup, so `cgroup.kill` (Linux 5.14, cgroup-v2.rst) ends all of them
//! at once.
//!
//! No controller is enabled, so that this process may stay in the parent of the new cgroups.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::machine::Generation;
use crate::sys;

/// Where cgroup v2 is mounted; the second on machines that still have v1 controllers.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Attributes that systemd sets on a delegated cgroup. The second one, from systemd 251 on, is readable
/// without privileges.
const DELEGATED: [&CStr; 2] = [c"trusted.delegate", c"user.delegate"];

/// The cgroups of the generations, below that of this process.
pub(crate) struct Cgroups {
    /// The cgroup of this process; `None` if it is not delegated.
    parent: Option<PathBuf>,
    /// The names of the cgroups begin with this, which differs between supervisors in one container.
    prefix: String,
}

impl Cgroups {
    /// Finds the cgroup of this process, and whether it is delegated.
    pub(crate) fn find() -> Cgroups {
        let delegated = own_cgroup().filter(OwnCgroup::is_delegated);
        Cgroups::below(delegated.map(|own| own.dir))
    }

    fn below(parent: Option<PathBuf>) -> Cgroups {
        let prefix = format!("start_server.{}.", std::process::id());
        Cgroups { parent, prefix }
    }

    fn path(&self, generation: Generation) -> Option<PathBuf> {
        let parent = self.parent.as_ref()?;
        Some(parent.join(format!("{}{generation}", self.prefix)))
    }

    /// Creates the cgroup of a generation and opens its `cgroup.procs`, to which the new process writes `0` to
    /// move there. `None` if that is impossible: the worker then stays in the cgroup of this process.
    pub(crate) fn make(&self, generation: Generation) -> Option<File> {
        let path = self.path(generation)?;
        let made = fs::create_dir(&path).and_then(|()| {
            OpenOptions::new()
                .write(true)
                .open(path.join("cgroup.procs"))
        });
        made.inspect_err(|e| {
            tracing::debug!(generation, "no cgroup at {}: {e}", path.display());
            let _ = fs::remove_dir(&path);
        })
        .ok()
    }

    /// Kills all processes in the cgroup of a generation. Fails if the generation has none, or if the kernel
    /// has no `cgroup.kill`.
    pub(crate) fn kill(&self, generation: Generation) -> io::Result<()> {
        let path = self.path(generation).ok_or(io::ErrorKind::Unsupported)?;
        // Not `fs::write`, which would create the file.
        let mut file = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.kill"))?;
        io::Write::write_all(&mut file, b"1")
    }

    /// Removes the cgroups without processes. The others stay until a later call.
    pub(crate) fn remove_empty(&self) {
        let Some(entries) = self.parent.as_ref().and_then(|dir| fs::read_dir(dir).ok()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(self.prefix.as_bytes()) {
                let _ = fs::remove_dir(entry.path()); // EBUSY if a process is left
            }
        }
    }
}

/// The cgroup of this process.
struct OwnCgroup {
    dir: PathBuf,
    /// It is the root of the cgroup namespace, as in a container without a service manager.
    is_root: bool,
}

fn own_cgroup() -> Option<OwnCgroup> {
    let table = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = table.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = MOUNTS
        .into_iter()
        .find(|mount| Path::new(mount).join("cgroup.procs").exists())?;
    Some(OwnCgroup {
        dir: Path::new(mount).join(path.trim_start_matches('/')),
        is_root: path == "/",
    })
}

impl OwnCgroup {
    fn is_delegated(&self) -> bool {
        // The root cgroup of the machine, which is never delegated, has no `cgroup.type`.
        let in_container = self.is_root && self.dir.join("cgroup.type").exists();
        let by_systemd = || {
            DELEGATED
                .into_iter()
                .any(|name| sys::xattr::has_value(&self.dir, name, b"1"))
        };
        in_container || by_systemd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_without_a_delegated_cgroup_has_none() {
        let none = Cgroups::below(None);
        assert!(none.make(1).is_none());
        assert_eq!(none.kill(1).unwrap_err().kind(), io::ErrorKind::Unsupported);
        none.remove_empty();
    }

    #[test]
    fn only_empty_directories_of_this_process_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::below(Some(directory.path().to_owned()));
        let ours = cgroups.path(3).unwrap();
        let full = cgroups.path(4).unwrap();
        let other = directory.path().join("start_server.0.3");
        for path in [&ours, &full, &other] {
            fs::create_dir(path).unwrap();
        }
        fs::write(full.join("member"), "").unwrap();
        cgroups.remove_empty();
        assert!(!ours.exists() && full.exists() && other.exists());
    }

    #[test]
    fn directory_that_is_no_cgroup_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::below(Some(directory.path().to_owned()));
        assert!(cgroups.make(1).is_none());
        assert!(!cgroups.path(1).unwrap().exists());
        assert!(cgroups.kill(1).is_err());
    }
}
