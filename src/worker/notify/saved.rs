//! The lines to live workers, handed to the next program in this process. What was said and not heard
//! is still in the sockets.

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

/// All lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedNotifySockets {
    list: Vec<SavedNotifySocket>,
    /// Where the next one is made.
    place: Option<OsString>,
}

/// Directories that several lines may have in common.
#[derive(Default)]
struct Places(BTreeMap<PathBuf, Rc<RuntimeDir>>);

impl Places {
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

    /// As [`NotifySockets::prepare`] and all that came after it.
    pub(crate) fn resume(
        saved: SavedNotifySockets,
        indispensable: bool,
        workers: Option<&Identity>,
        parents: Parents,
        min_fd: RawFd,
    ) -> io::Result<NotifySockets> {
        let owner = workers.map(|who| (who.user, who.group));
        let mut places = Places::default();
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
