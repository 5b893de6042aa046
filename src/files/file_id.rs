//! Whether two paths or descriptors lead to the same file.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The identity of a file, whatever its names are: device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id of an open file.
    pub(super) fn of(file: &File) -> Option<FileId> {
        file.metadata().ok().map(|found| FileId::new(&found))
    }

    /// The id of the file at a path. Symbolic links are followed.
    pub(super) fn at(path: &Path) -> Option<FileId> {
        let found = std::fs::metadata(path).ok()?;
        Some(FileId::new(&found))
    }

    /// The id of the file at a path, which may be a symbolic link.
    pub(super) fn at_no_follow(path: &Path) -> Option<FileId> {
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
