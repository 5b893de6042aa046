//! The file of the program, in which the next release will be.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// A link to the file that the kernel has executed.
const OURSELVES: &str = "/proc/self/exe";

/// The path of the program: the name by which it was started, which may be a link that leads to the latest
/// release. It is looked up again at each upgrade.
#[derive(Debug)]
pub(super) struct Executable(PathBuf);

/// A version of the file. Another file, and changed contents, are another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Executable {
    /// `called_as` is the first argument, which may be anything: it is the path if it leads to the file that
    /// the kernel has executed. It does not if the file, or the link to it, has been replaced since exec.
    /// So the path that was given to exec comes next. The file itself, which comes last, may be deleted or
    /// be that of the release before.
    pub(super) fn find(called_as: &OsStr) -> Executable {
        Executable::find_by(called_as, executed_as())
    }

    fn find_by(called_as: &OsStr, executed_as: Option<PathBuf>) -> Executable {
        let ours = fs::metadata(OURSELVES).ok();
        let is_ours = |path: &PathBuf| match (&ours, fs::metadata(path)) {
            (Some(ours), Ok(found)) => same(ours, &found),
            (None, found) => found.is_ok(), // without /proc the name alone decides
            (Some(_), Err(_)) => false,
        };
        let by_name = candidates(called_as).into_iter().find(is_ours);
        let path = by_name.or(executed_as);
        let path = path.or_else(|| fs::read_link(OURSELVES).ok());
        Executable(path.unwrap_or_else(|| called_as.into()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The version that is at the path now.
    pub(super) fn version(&self) -> io::Result<Version> {
        let found = fs::metadata(&self.0)?;
        Ok(Version {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// The path that was given to exec. `None` if the path is that of a descriptor or in /proc: it would be another
/// file in the next program.
fn executed_as() -> Option<PathBuf> {
    let path = std::path::absolute(sys::reexec::executed_as()?).ok()?;
    let transient = ["/proc", "/dev/fd"].iter().any(|dir| path.starts_with(dir));
    (!transient).then_some(path)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The paths at which a shell would look: the path itself, or those along `$PATH`.
fn candidates(called_as: &OsStr) -> Vec<PathBuf> {
    let absolute = |path: PathBuf| std::path::absolute(path).ok();
    if called_as.as_bytes().contains(&b'/') {
        return absolute(called_as.into()).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path);
    directories
        .filter_map(|directory| absolute(directory.join(called_as)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_by_its_name() {
        let ours = std::env::current_exe().unwrap();
        assert_eq!(Executable::find(ours.as_os_str()).path(), ours);
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        assert_eq!(Executable::find(link.as_os_str()).path(), link);
    }

    #[test]
    fn executable_is_found_by_proc_if_its_name_is_false() {
        let ours = std::env::current_exe().unwrap();
        for name in ["/bin/sh", "sh", "a login name", ""] {
            assert_eq!(Executable::find(OsStr::new(name)).path(), ours, "{name}");
        }
    }

    #[test]
    fn executable_that_was_replaced_after_exec_is_found_by_the_path_of_exec() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "the next release").unwrap();
        let found = Executable::find_by(path.as_os_str(), Some(path.clone()));
        assert_eq!(found.path(), path);
    }

    #[test]
    fn path_of_exec_leads_to_the_executable() {
        let path = executed_as().unwrap();
        let ours = std::env::current_exe().unwrap();
        assert_eq!(fs::canonicalize(path).unwrap(), ours);
    }

    #[test]
    fn replaced_file_is_another_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "one").unwrap();
        let executable = Executable(path.clone());
        let before = executable.version().unwrap();
        assert_eq!(executable.version().unwrap(), before);
        fs::write(dir.path().join("new"), "two").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(executable.version().unwrap(), before);
        fs::remove_file(&path).unwrap();
        assert!(executable.version().is_err());
    }
}
