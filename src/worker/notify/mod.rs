//! Notifications of workers, sd_notify(3). Each generation has a `NOTIFY_SOCKET` of its own. Workers do not
//! get that of the unit: READY or STOPPING sent there would count for the whole unit.

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

/// How many batches are read from a socket that is closed. More than its queue holds:
/// net.unix.max_dgram_qlen, which systemd sets to 512.
const MAX_BATCHES: usize = 16;

/// The notification sockets of all live generations.
pub(crate) struct NotifySockets {
    list: Vec<NotifySocket>,
    /// The directory of the next socket; `None` if none could be made.
    dir: Option<Rc<RuntimeDir>>,
    /// An option needs the sockets: no worker is started without one.
    indispensable: bool,
    /// The user and group of workers, if they differ from the supervisor's.
    owner: Option<Owner>,
    parents: Parents,
    min_fd: RawFd,
    buffer: ReceiveBuffer,
    /// Notifications that were read, and not yet returned by [`NotifySockets::next_notification`].
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
        let mut sockets = NotifySockets::new(needed_by.is_some(), workers, parents, min_fd);
        match RuntimeDir::make(&sockets.parents, sockets.owner) {
            Ok(dir) => sockets.dir = Some(Rc::new(dir)),
            Err(why) => no_dir(needed_by, &why)?,
        }
        Ok(sockets)
    }

    fn new(
        indispensable: bool,
        workers: Option<&Identity>,
        parents: Parents,
        min_fd: RawFd,
    ) -> NotifySockets {
        NotifySockets {
            list: Vec::new(),
            dir: None,
            indispensable,
            owner: workers.map(|who| (who.user, who.group)),
            parents,
            min_fd,
            buffer: ReceiveBuffer::new(message::MAX_LENGTH),
            queue: Queue::new(),
        }
    }

    /// Opens the socket of a generation that is about to be started. Returns its variable `NOTIFY_SOCKET`, or
    /// `None` if the worker has to start without one.
    ///
    /// # Errors
    /// Why there is no socket, if an option needs it.
    pub(crate) fn open(&mut self, generation: Generation) -> Result<Option<CString>, String> {
        match self.try_open(generation) {
            Ok(socket) => {
                let mut variable = b"NOTIFY_SOCKET=".to_vec();
                variable.extend_from_slice(socket.path().as_os_str().as_bytes());
                self.list.push(socket);
                Ok(CString::new(variable).ok()) // a path has no NUL
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
        let (owner, min_fd) = (self.owner, self.min_fd);
        let open = |dir: &Rc<RuntimeDir>| NotifySocket::open(generation, dir, owner, min_fd);
        if let Some(Ok(socket)) = self.dir.as_ref().map(open) {
            return Ok(socket);
        }
        // The directory was removed, or its file system is full. Another one may do; the sockets of live
        // generations stay.
        let dir = Rc::new(RuntimeDir::make(&self.parents, owner)?);
        let opened = open(&dir).map_err(|e| DisplayIoError(&e).to_string())?;
        self.dir = Some(dir);
        Ok(opened)
    }

    /// Sets the worker of a generation.
    pub(crate) fn set_worker(&mut self, generation: Generation, pid: Pid) {
        if let Some(socket) = self.list.iter_mut().find(|s| s.generation() == generation) {
            socket.set_worker(pid);
        }
    }

    /// Closes the socket of a generation that has no worker any more. Returns its last status text. Its other
    /// notifications come too late.
    pub(crate) fn close(&mut self, generation: Generation) -> Option<StatusText> {
        let at = self
            .list
            .iter()
            .position(|s| s.generation() == generation)?;
        let mut socket = self.list.remove(at);
        let (buffer, mut too_late) = (&mut self.buffer, Queue::new());
        let mut last = read_one(&mut socket, buffer, &mut too_late);
        // Read to the end: the kernel would close descriptors in unread messages, and may wait for that.
        // Bounded, since a child of the worker may go on sending.
        for _ in 0..MAX_BATCHES {
            if socket.drained {
                break;
            }
            last = read_one(&mut socket, buffer, &mut too_late).or(last);
        }
        last
    }

    /// The sockets to poll.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.list.iter().filter(|socket| !socket.ended);
        open.map(NotifySocket::as_fd)
    }

    /// Takes the result of poll(2) for each of [`NotifySockets::fds`], in order. A socket that a worker has
    /// shut down is left out from then on: poll would return at once each time.
    pub(crate) fn mark_ready(&mut self, polled: impl Iterator<Item = PollFlags>) {
        let open = self.list.iter_mut().filter(|socket| !socket.ended);
        for (socket, flags) in open.zip(polled) {
            socket.readable = flags.contains(PollFlags::POLLIN);
            socket.ended = flags.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL);
        }
    }

    /// Marks all sockets as readable.
    pub(crate) fn mark_all_ready(&mut self) {
        self.list.iter_mut().for_each(|s| s.readable = true);
    }

    /// Reads the readable sockets, and returns the status texts. Bounded, since a worker may send without an
    /// end.
    pub(crate) fn read(&mut self) -> Vec<StatusText> {
        let mut texts = Vec::new();
        for socket in self.list.iter_mut().filter(|s| s.readable) {
            socket.readable = false;
            texts.extend(read_one(socket, &mut self.buffer, &mut self.queue));
        }
        texts
    }

    /// The next notification.
    pub(crate) fn next_notification(&mut self) -> Option<(Generation, Notification)> {
        self.queue.pop_front()
    }
}

/// Logs that there is no directory for the sockets; fails if an option needs them.
fn no_dir(needed_by: Option<&str>, why: &str) -> Result<(), Error> {
    if let Some(option) = needed_by {
        return Err(Error::NotDone(format!(
            "{option}: no place for notification sockets in {why}; set TMPDIR to a directory that can be \
             written to"
        )));
    }
    tracing::warn!("workers have no NOTIFY_SOCKET: no place for it in {why}");
    Ok(())
}

/// Reads a batch from one socket into `queue`, and returns the text of its last STATUS and ERRNO.
fn read_one(
    socket: &mut NotifySocket,
    buffer: &mut ReceiveBuffer,
    queue: &mut Queue,
) -> Option<StatusText> {
    let batch = socket.read(buffer, queue);
    let errno = batch.errno.map(|errno| {
        let why = std::io::Error::from_raw_os_error(errno);
        DisplayIoError(&why).to_string()
    });
    let text = match (batch.status, errno) {
        (Some(status), Some(errno)) => format!("{status} ({errno})"),
        (status, errno) => status.or(errno)?,
    };
    let generation = socket.generation();
    Some(StatusText { generation, text })
}
