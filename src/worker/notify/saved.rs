//! The notification sockets, for the next program in this process. Unread notifications are still in them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::runtime_dir::{Parents, RuntimeDir};
use super::socket::{NotifySocket, SavedNotifySocket};
use super::{NotifySockets, Queue, message};
use crate::sys::datagram::ReceiveBuffer;
use crate::sys::reexec::FdSet;
use crate::types::Identity;

/// All sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedNotifySockets {
    list: Vec<SavedNotifySocket>,
    /// The directory of the next socket.
    place: Option<OsString>,
}

/// Directories that several sockets may share.
#[derive(Default)]
struct RuntimeDirs(BTreeMap<PathBuf, Rc<RuntimeDir>>);

impl RuntimeDirs {
    fn get(&mut self, path: &Path) -> Rc<RuntimeDir> {
        let place = self.0.entry(path.to_owned());
        Rc::clone(place.or_insert_with(|| Rc::new(RuntimeDir::resume(path))))
    }
}

impl NotifySockets {
    pub(crate) fn save(&self, fds: &mut FdSet) -> SavedNotifySockets {
        SavedNotifySockets {
            list: self.list.iter().map(|line| line.save(fds)).collect(),
            place: self.place.as_ref().map(|place| place.path().into()),
        }
    }

    /// Resumes the sockets that the program before has saved.
    pub(crate) fn resume(
        saved: SavedNotifySockets,
        indispensable: bool,
        workers: Option<&Identity>,
        parents: Parents,
        min_fd: RawFd,
    ) -> io::Result<NotifySockets> {
        let owner = workers.map(|who| (who.user, who.group));
        let mut places = RuntimeDirs::default();
        let place = saved.place.map(|path| places.get(Path::new(&path)));
        let list = saved.list.into_iter();
        let list = list.map(|line| {
            let directory = line.directory().to_owned();
            NotifySocket::resume(line, places.get(&directory), owner)
        });
        let list: io::Result<Vec<NotifySocket>> = list.collect();
        Ok(NotifySockets {
            list: list?,
            place,
            indispensable,
            owner,
            parents,
            min_fd,
            buffer: ReceiveBuffer::new(message::LONGEST),
            queue: Queue::new(),
        })
    }
}
