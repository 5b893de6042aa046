//! The notification sockets, for the next program in this process. Unread notifications are still in them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::NotifySockets;
use super::runtime_dir::{Parents, RuntimeDir};
use super::socket::{NotifySocket, SavedNotifySocket};
use crate::sys::reexec::FdSet;
use crate::types::Identity;

/// The sockets of all live generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedNotifySockets {
    list: Vec<SavedNotifySocket>,
    /// The directory of the next socket.
    dir: Option<OsString>,
}

/// Directories that several sockets may share.
#[derive(Default)]
struct RuntimeDirs(BTreeMap<PathBuf, Rc<RuntimeDir>>);

impl RuntimeDirs {
    fn get(&mut self, path: &Path) -> Rc<RuntimeDir> {
        let dir = self.0.entry(path.to_owned());
        Rc::clone(dir.or_insert_with(|| Rc::new(RuntimeDir::resume(path))))
    }
}

impl NotifySockets {
    /// Keeps the sockets open for the next program in this process.
    pub(crate) fn save(&self, fds: &mut FdSet) -> SavedNotifySockets {
        SavedNotifySockets {
            list: self.list.iter().map(|socket| socket.save(fds)).collect(),
            dir: self.dir.as_ref().map(|dir| dir.path().into()),
        }
    }

    /// Adopts the sockets that the previous program in this process has saved.
    pub(crate) fn resume(
        saved: SavedNotifySockets,
        indispensable: bool,
        workers: Option<&Identity>,
        parents: Parents,
        min_fd: RawFd,
    ) -> io::Result<NotifySockets> {
        let mut dirs = RuntimeDirs::default();
        let mut sockets = NotifySockets::new(indispensable, workers, parents, min_fd);
        sockets.dir = saved.dir.map(|path| dirs.get(Path::new(&path)));
        for socket in saved.list {
            let dir = dirs.get(socket.directory());
            let socket = NotifySocket::resume(socket, dir, sockets.owner)?;
            sockets.list.push(socket);
        }
        Ok(sockets)
    }
}
