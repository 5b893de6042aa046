//! The files a supervisor keeps: each type guards what it made, and touches nothing else.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod log_file;
mod pid_file;
mod removal;
mod safe_open;
mod stale_status;
mod status_file;

pub use log_file::LogFileSpec;
pub(crate) use log_file::{LogFile, SavedCommand};
pub(crate) use pid_file::{Held, Holder, PidFile, read_holder};
pub(crate) use removal::RemovalWatch;
pub(crate) use stale_status::{Entry, GREATEST, StaleStatus};
pub(crate) use status_file::{StatusFile, read_status};

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Which file something is, whatever it is called: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &File) -> Option<Identity> {
        file.metadata().ok().map(|m| Identity::new(&m))
    }

    /// Of what a name leads to.
    fn behind(path: &Path) -> Option<Identity> {
        std::fs::metadata(path).ok().map(|m| Identity::new(&m))
    }

    /// Of what has the name itself, a symbolic link perhaps.
    fn at(path: &Path) -> Option<Identity> {
        std::fs::symlink_metadata(path)
            .ok()
            .map(|m| Identity::new(&m))
    }

    fn new(meta: &Metadata) -> Identity {
        Identity {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}
