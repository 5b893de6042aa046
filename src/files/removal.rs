//! Reports when another process has removed or renamed a file, inotify(7).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::error::why;

/// Watches files by inode, each under an index that the caller chooses.
pub(crate) struct RemovalWatch {
    inotify: Inotify,
    files: Vec<(WatchDescriptor, usize)>,
}

impl RemovalWatch {
    /// `None` if no inotify instance is left, inotify(7). Removals are then noticed at the next HUP.
    pub(crate) fn new() -> Option<RemovalWatch> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags)
            .inspect_err(|errno| tracing::debug!("no inotify: {}", why(*errno)))
            .ok()?;
        Some(RemovalWatch {
            inotify,
            files: Vec::new(),
        })
    }

    /// Watches the file that is at `path` now, in place of the one that had this index.
    pub(crate) fn watch(&mut self, index: usize, path: &Path) {
        let inotify = &self.inotify;
        self.files.retain(|(watch, watched)| {
            if *watched == index {
                let _ = inotify.rm_watch(*watch); // fails if the file was removed
            }
            *watched != index
        });
        // IN_ATTRIB: the number of links changes when a name is removed.
        let removal = AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DONT_FOLLOW;
        match self.inotify.add_watch(path, removal) {
            Ok(watch) => self.files.push((watch, index)),
            Err(errno) => tracing::debug!("{} is not watched: {}", path.display(), why(errno)),
        }
    }

    /// The indexes of the files that were removed, renamed, or got another mode or owner since the last
    /// call, in ascending order.
    pub(crate) fn touched(&self) -> Vec<usize> {
        let mut touched = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                let watched = self.files.iter().find(|(watch, _)| *watch == event.wd);
                touched.extend(watched.map(|(_, index)| *index));
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched
    }
}

impl AsFd for RemovalWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn removed_socket_file_is_reported_under_its_index() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        let _listeners = paths.clone().map(|path| UnixListener::bind(path).unwrap());
        let mut watch = RemovalWatch::new().unwrap();
        watch.watch(7, &paths[0]);
        watch.watch(8, &paths[1]);
        assert!(watch.touched().is_empty());
        fs::remove_file(&paths[1]).unwrap();
        assert_eq!(watch.touched(), [8]);
        fs::rename(&paths[0], directory.path().join("moved")).unwrap();
        assert_eq!(watch.touched(), [7]);
    }

    #[test]
    fn replaced_file_is_watched_under_the_same_index() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut watch = RemovalWatch::new().unwrap();
        for _ in 0..2 {
            let _listener = UnixListener::bind(&path).unwrap();
            watch.watch(0, &path);
            fs::remove_file(&path).unwrap();
            assert_eq!(watch.touched(), [0]);
        }
    }
}
