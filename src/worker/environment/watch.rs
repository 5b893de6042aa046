//! Watching an envdir for changes, inotify(7), so that its settings take effect at once without polling.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::error::why;

/// Reports that a file in the directory was written, added or removed, and that the directory was replaced.
pub(super) struct EnvdirWatch {
    inotify: Inotify,
    dir: PathBuf,
    on_dir: Option<WatchDescriptor>,
    on_parent: Option<WatchDescriptor>,
}

impl EnvdirWatch {
    /// `None` if the system has no inotify instance left. Changes are then noticed at the next event.
    pub(super) fn new(dir: &Path) -> Option<EnvdirWatch> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags)
            .map_err(|errno| tracing::debug!("no inotify: {}", why(errno)))
            .ok()?;
        Some(EnvdirWatch {
            inotify,
            dir: dir.to_owned(),
            on_dir: None,
            on_parent: None,
        })
    }

    /// Whether something has changed since the last call.
    pub(super) fn has_changed(&self) -> bool {
        let mut any = false;
        while let Ok(events) = self.inotify.read_events() {
            // In the parent only the directory's own name matters.
            any |= events.iter().any(|event| {
                Some(event.wd) != self.on_parent || event.name.as_deref() == self.dir.file_name()
            });
        }
        any
    }

    /// Drops the events so far, and watches the directory that has the name now.
    pub(super) fn restart(&mut self) {
        self.has_changed();
        let appears = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let changes = appears
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB;
        let parent = match self.dir.parent() {
            Some(parent) if parent.as_os_str() == OsStr::new("") => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        self.on_parent = self.replace(self.on_parent, parent, appears);
        self.on_dir = self.replace(self.on_dir, &self.dir, changes);
    }

    /// Watches the directory that has this name now, instead of the one before.
    fn replace(
        &self,
        before: Option<WatchDescriptor>,
        path: &Path,
        what: AddWatchFlags,
    ) -> Option<WatchDescriptor> {
        // A missing directory is reported when it is read.
        let now = self
            .inotify
            .add_watch(path, what | AddWatchFlags::IN_ONLYDIR)
            .ok();
        if let Some(before) = before.filter(|before| Some(*before) != now) {
            let _ = self.inotify.rm_watch(before); // gone already, if its directory is
        }
        now
    }
}

impl AsFd for EnvdirWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
