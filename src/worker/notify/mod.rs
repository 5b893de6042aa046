//! What workers say to the supervisor, by sd_notify(3): each generation has a `NOTIFY_SOCKET` of its
//! own. That of the unit stays with us, for who says READY or STOPPING there speaks for the unit.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod message;
mod runtime_dir;
mod saved;
mod socket;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::poll::PollFlags;

use crate::error::{DisplayIoError, Error};
use crate::machine::{Generation, Notification};
use crate::sys::datagram::ReceiveBuffer;
use crate::types::{Identity, Pid};
pub(crate) use runtime_dir::Parents;
use runtime_dir::{Owner, RuntimeDir};
pub(crate) use saved::SavedNotifySockets;
use socket::NotifySocket;

/// More than a queue holds, net.unix.max_dgram_qlen, with systemd's 512.
const BATCHES: usize = 16;

/// The lines to all live workers.
pub(crate) struct NotifySockets {
    list: Vec<NotifySocket>,
    place: Option<Rc<RuntimeDir>>,
    /// Without a line there can be no worker.
    indispensable: bool,
    /// Who workers are, if they are not who we are.
    owner: Option<Owner>,
    parents: Parents,
    min_fd: RawFd,
    buffer: ReceiveBuffer,
    /// Notifications that have been read and not handed out yet.
    queue: Queue,
}

/// Notifications, in the order in which they were read.
type Queue = VecDeque<(Generation, Notification)>;

/// The text of a `STATUS=` notification, and of an `ERRNO=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusText {
    pub(crate) generation: Generation,
    pub(crate) text: String,
}

impl NotifySockets {
    /// Makes a directory for the sockets in one of `parents`. The sockets will be on descriptor `min_fd` or
    /// higher. `needed_by` is the option that has no effect without them, `workers` the user that workers
    /// run as, if it is another one.
    ///
    /// # Errors
    /// No directory can be made, and `needed_by` is given.
    pub(crate) fn prepare(
        needed_by: Option<&str>,
        workers: Option<&Identity>,
        parents: Parents,
        min_fd: RawFd,
    ) -> Result<NotifySockets, Error> {
        let owner = workers.map(|who| (who.user, who.group));
        let place = match RuntimeDir::make(&parents, owner) {
            Ok(place) => Some(Rc::new(place)),
            Err(why) => {
                if let Some(option) = needed_by {
                    let message = format!(
                        "{option}: no place for notification sockets in {why}; set TMPDIR to a directory that \
                         can be written to"
                    );
                    return Err(Error::NotDone(message));
                }
                tracing::warn!("workers have no NOTIFY_SOCKET: no place for it in {why}");
                None
            }
        };
        Ok(NotifySockets {
            list: Vec::new(),
            place,
            indispensable: needed_by.is_some(),
            owner,
            parents,
            min_fd,
            buffer: ReceiveBuffer::new(message::LONGEST),
            queue: Queue::new(),
        })
    }

    /// Opens the line of a generation that is about to be started and says where it is, as a
    /// variable. None: it has to do without. An error says why it cannot be started.
    pub(crate) fn open(&mut self, generation: Generation) -> Result<Option<CString>, String> {
        match self.try_open(generation) {
            Ok(channel) => {
                let mut variable = b"NOTIFY_SOCKET=".to_vec();
                variable.extend_from_slice(channel.path().as_os_str().as_bytes());
                self.list.push(channel);
                Ok(CString::new(variable).ok()) // no NUL in what has been a path
            }
            Err(why) if self.indispensable => {
                Err(format!("failed to make a notification socket: {why}"))
            }
            Err(why) => {
                tracing::warn!("generation {generation} has no NOTIFY_SOCKET: {why}");
                Ok(None)
            }
        }
    }

    fn try_open(&mut self, generation: Generation) -> Result<NotifySocket, String> {
        let first_try = match &self.place {
            Some(place) => NotifySocket::open(generation, place, self.owner, self.min_fd),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        first_try.or_else(|_| {
            // Removed by a janitor, or full: there may be another. The live sockets stay where
            // they are.
            let place = Rc::new(RuntimeDir::make(&self.parents, self.owner)?);
            let opened = NotifySocket::open(generation, &place, self.owner, self.min_fd);
            let opened = opened.map_err(|e| DisplayIoError(&e).to_string())?;
            self.place = Some(place);
            Ok(opened)
        })
    }

    /// This worker has been started with the line of its generation.
    pub(crate) fn belongs_to(&mut self, generation: Generation, pid: Pid) {
        if let Some(channel) = self.find(generation) {
            channel.worker = Some(pid);
        }
    }

    /// Its worker has gone, or never came to be. What it said last is handed out; its words come too
    /// late.
    pub(crate) fn close(&mut self, generation: Generation) -> Option<StatusText> {
        let at = self.list.iter().position(|c| c.generation == generation)?;
        let mut channel = self.list.remove(at);
        let (buffer, mut too_late) = (&mut self.buffer, Queue::new());
        let mut last = status_text(&mut channel, buffer, &mut too_late);
        // To the end: descriptors in what is left unread would be closed by the kernel, which waits
        // where we do not. Bounded, for a child of the worker's may go on.
        for _ in 0..BATCHES {
            if channel.drained {
                break;
            }
            last = status_text(&mut channel, buffer, &mut too_late).or(last);
        }
        last
    }

    fn find(&mut self, generation: Generation) -> Option<&mut NotifySocket> {
        self.list.iter_mut().find(|c| c.generation == generation)
    }

    /// The sockets, to be waited for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.list
            .iter()
            .filter(|c| !c.ended)
            .map(NotifySocket::as_fd)
    }

    /// Takes the result of poll(2) for each of [`NotifySockets::fds`], in order. A socket that a worker has shut
    /// down is left out from then on: poll would return at once each time.
    pub(crate) fn mark_ready(&mut self, news: impl Iterator<Item = PollFlags>) {
        for (channel, flags) in self.list.iter_mut().filter(|c| !c.ended).zip(news) {
            channel.readable = flags.contains(PollFlags::POLLIN);
            channel.ended = flags.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL);
        }
    }

    /// Marks all sockets as readable.
    pub(crate) fn mark_all_ready(&mut self) {
        self.list.iter_mut().for_each(|c| c.readable = true);
    }

    /// Reads the readable sockets, and returns the status texts. Bounded, since a worker may send without an
    /// end.
    pub(crate) fn read(&mut self) -> Vec<StatusText> {
        let mut texts = Vec::new();
        for channel in self.list.iter_mut().filter(|c| c.readable) {
            channel.readable = false;
            texts.extend(status_text(channel, &mut self.buffer, &mut self.queue));
        }
        texts
    }

    /// The next notification.
    pub(crate) fn next_notification(&mut self) -> Option<(Generation, Notification)> {
        self.queue.pop_front()
    }
}

fn status_text(
    channel: &mut NotifySocket,
    buffer: &mut ReceiveBuffer,
    queue: &mut Queue,
) -> Option<StatusText> {
    let news = channel.read(buffer, queue);
    let errno = news.errno.map(|errno| {
        let why = std::io::Error::from_raw_os_error(errno);
        DisplayIoError(&why).to_string()
    });
    let text = match (news.status, errno) {
        (Some(status), Some(errno)) => format!("{status} ({errno})"),
        (status, errno) => status.or(errno)?,
    };
    let generation = channel.generation;
    Some(StatusText { generation, text })
}
