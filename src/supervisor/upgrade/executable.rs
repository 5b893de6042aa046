//! Where the next release of this program will be.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// What the kernel runs as us.
const OURSELVES: &str = "/proc/self/exe";

/// The file that this program was started from. By the name it was called by, for that may be a link
/// to the release of the day; it is looked up anew each time.
#[derive(Debug)]
pub(super) struct Executable(PathBuf);

/// What was there at some time, so that it is seen when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Executable {
    /// `called_as` is the first argument, which may say anything: it counts if it leads to us. By then
    /// somebody may have replaced our file already, or the link to it, and nothing does. So what the
    /// kernel was told to execute comes next; what it executes would be a file that has gone, or that
    /// of the release before.
    pub(super) fn find(called_as: &OsStr) -> Executable {
        Executable::find_by(called_as, executed_as())
    }

    fn find_by(called_as: &OsStr, executed_as: Option<PathBuf>) -> Executable {
        let ours = fs::metadata(OURSELVES).ok();
        let is_ours = |path: &PathBuf| match (&ours, fs::metadata(path)) {
            (Some(ours), Ok(found)) => same(ours, &found),
            (None, found) => found.is_ok(), // no /proc: its name has to do
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

    /// What is there now.
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

/// None: it was a descriptor, or whatever this very process ran, and no name that lasts.
fn executed_as() -> Option<PathBuf> {
    let path = std::path::absolute(sys::reexec::executed_as()?).ok()?;
    let passing = ["/proc", "/dev/fd"].iter().any(|of| path.starts_with(of));
    (!passing).then_some(path)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where a shell would have looked: at the path itself, or along `$PATH`.
fn candidates(called_as: &OsStr) -> Vec<PathBuf> {
    let absolute = |path: PathBuf| std::path::absolute(path).ok();
    if called_as.as_bytes().contains(&b'/') {
        return absolute(called_as.into()).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path);
    places
        .filter_map(|place| absolute(place.join(called_as)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_its_name_if_that_leads_to_it() {
        let ours = std::env::current_exe().unwrap();
        assert_eq!(Executable::find(ours.as_os_str()).path(), ours);
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        assert_eq!(Executable::find(link.as_os_str()).path(), link);
    }

    #[test]
    fn else_by_what_the_kernel_says() {
        let ours = std::env::current_exe().unwrap();
        for lie in ["/bin/sh", "sh", "a login name", ""] {
            assert_eq!(Executable::find(OsStr::new(lie)).path(), ours, "{lie}");
        }
    }

    /// Between exec and this.
    #[test]
    fn by_the_name_it_was_executed_by_when_its_file_has_been_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "the next release").unwrap();
        let found = Executable::find_by(path.as_os_str(), Some(path.clone()));
        assert_eq!(found.path(), path);
    }

    #[test]
    fn the_kernel_knows_by_what_name_it_was_executed() {
        let path = executed_as().unwrap();
        let ours = std::env::current_exe().unwrap();
        assert_eq!(fs::canonicalize(path).unwrap(), ours);
    }

    #[test]
    fn another_file_is_another_version() {
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
