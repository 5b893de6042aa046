//! Being told when an envdir changes, inotify(7): settings in it take effect at once, and nobody has
//! to look every second.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Notices that a file in a directory has been written, put there or removed.
pub(super) struct Watch(Inotify);

impl Watch {
    /// None if the system has no watches left: then changes are seen when something else happens.
    pub(super) fn new() -> Option<Watch> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        Inotify::init(flags)
            .map_err(|e| tracing::debug!("no inotify: {}", e.desc()))
            .ok()
            .map(Watch)
    }

    /// Whether something has changed since this was last asked.
    pub(super) fn any_news(&self) -> bool {
        let mut any = false;
        while self.0.read_events().is_ok() {
            any = true;
        }
        any
    }

    /// Drops the news so far and watches what is called `dir` now: it may be another directory
    /// than before.
    pub(super) fn renew(&self, dir: &Path) {
        self.any_news();
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR;
        let _ = self.0.add_watch(dir, changes); // not there: reading it will say so
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
