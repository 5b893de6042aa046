//! The files that a supervisor writes: pid file, status file, log file. Each type changes and removes only
//! files that it has made.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod log_command;
mod log_file;
mod pid_file;
mod removal;
mod safe_open;
mod stale_status;
mod status_file;

pub(crate) use log_command::SavedCommand;
pub(crate) use log_file::LogFile;
pub use log_file::LogFileSpec;
pub(crate) use pid_file::{Holder, LockedPidFile, PidFile, read_holder};
pub(crate) use removal::RemovalWatch;
pub(crate) use stale_status::{MAX_GENERATION, StaleStatus, StatusEntry};
pub(crate) use status_file::{StatusFile, read_status};

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The identity of a file, whatever its names are: device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id of an open file.
    fn of(file: &File) -> Option<FileId> {
        file.metadata().ok().map(|found| FileId::new(&found))
    }

    /// The id of the file at a path. Symbolic links are followed.
    fn at(path: &Path) -> Option<FileId> {
        let found = std::fs::metadata(path).ok()?;
        Some(FileId::new(&found))
    }

    /// The id of the file at a path, which may be a symbolic link.
    fn at_no_follow(path: &Path) -> Option<FileId> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(FileId::new(&found))
    }

    fn new(found: &Metadata) -> FileId {
        FileId {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}
