//! The notification socket of one generation. The socket tells the sender's generation; the sender's pid does not: it
//! may be that of a child of the worker, or be gone when the message is read.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt,
};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::Queue;
use super::message::{self, Field};
use super::runtime_dir::{Owner, RuntimeDir};
use crate::error::DisplayIoError;
use crate::machine::{Generation, Notification};
use crate::sys;
use crate::sys::datagram::ReceiveBuffer;
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// The most messages that are read from one socket in one iteration.
const BATCH: usize = 64;

/// A notification socket. Its file is removed when it is dropped.
pub(super) struct NotifySocket {
    pub(super) generation: Generation,
    socket: OwnedFd,
    path: PathBuf,
    /// Dropped after the file. The last socket in it removes the directory.
    _place: Rc<RuntimeDir>,
    /// The user whose processes may send, besides the supervisor's own.
    user: u32,
    /// The worker, once it runs.
    pub(super) worker: Option<Pid>,
    /// The socket is readable.
    pub(super) readable: bool,
    /// The socket was shut down: nothing comes any more.
    pub(super) ended: bool,
    /// The latest reading has emptied it.
    pub(super) drained: bool,
    /// A message was rejected; already logged.
    complained: bool,
    /// READY has come. Later ones have no effect.
    ready: bool,
}

/// The saved form, for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedNotifySocket {
    generation: Generation,
    socket: RawFd,
    path: OsString,
    worker: Option<Pid>,
    complained: bool,
    ready: bool,
}

impl SavedNotifySocket {
    pub(super) fn directory(&self) -> &Path {
        Path::new(&self.path).parent().unwrap_or(Path::new("/"))
    }
}

/// The result of one reading, of a fixed size however much was sent.
#[derive(Default)]
pub(super) struct Batch {
    ready: bool,
    ping: bool,
    stuck: bool,
    /// The longest EXTEND_TIMEOUT_USEC.
    extend: Option<Duration>,
    /// The latest STATUS.
    pub(super) status: Option<String>,
    /// The latest ERRNO.
    pub(super) errno: Option<i32>,
}

impl Batch {
    fn take_in(&mut self, field: Field) {
        match field {
            Field::Notification(Notification::Ready) => self.ready = true,
            Field::Notification(Notification::Ping) => self.ping = true,
            Field::Notification(Notification::Stuck) => self.stuck = true,
            Field::Notification(Notification::Extend(by)) => {
                self.extend = self.extend.max(Some(by))
            }
            Field::Status(status) => self.status = Some(status),
            Field::Errno(errno) => self.errno = Some(errno),
        }
    }

    fn notifications(&self) -> impl Iterator<Item = Notification> {
        let all = [
            self.extend.map(Notification::Extend),
            self.ping.then_some(Notification::Ping),
            self.ready.then_some(Notification::Ready),
            self.stuck.then_some(Notification::Stuck),
        ];
        all.into_iter().flatten()
    }
}

impl NotifySocket {
    /// Binds a socket on `min_fd` or a higher number.
    pub(super) fn open(
        generation: Generation,
        place: &Rc<RuntimeDir>,
        owner: Option<Owner>,
        min_fd: RawFd,
    ) -> io::Result<NotifySocket> {
        let path = place.socket(generation);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        let socket = sys::fd::move_above(socket, min_fd)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind_anew(&socket, &path)?;
        // From here on a failure removes the file.
        let channel = NotifySocket {
            generation,
            socket,
            path,
            _place: Rc::clone(place),
            user: speaker(owner),
            worker: None,
            readable: false,
            ended: false,
            drained: true,
            complained: false,
            ready: false,
        };
        if let Some((user, group)) = owner {
            lchown(&channel.path, Some(user), Some(group))?;
        }
        Ok(channel)
    }

    pub(super) fn save(&self, fds: &mut FdSet) -> SavedNotifySocket {
        SavedNotifySocket {
            generation: self.generation,
            socket: fds.keep(&self.socket),
            path: self.path.clone().into(),
            worker: self.worker,
            complained: self.complained,
            ready: self.ready,
        }
    }

    pub(super) fn resume(
        saved: SavedNotifySocket,
        place: Rc<RuntimeDir>,
        owner: Option<Owner>,
    ) -> io::Result<NotifySocket> {
        Ok(NotifySocket {
            generation: saved.generation,
            socket: sys::fd::adopt(saved.socket)?,
            path: saved.path.into(),
            _place: place,
            user: speaker(owner),
            worker: saved.worker,
            readable: false,
            ended: false,
            drained: false,
            complained: saved.complained,
            ready: saved.ready,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has come, at most a batch.
    pub(super) fn read(&mut self, buffer: &mut ReceiveBuffer, queue: &mut Queue) -> Batch {
        let mut news = Batch::default();
        self.drained = false;
        for _ in 0..BATCH {
            let datagram = match buffer.receive(&self.socket) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => {
                    self.drained = true;
                    break;
                }
                Err(e) => {
                    let why = format!(
                        "cannot read its notification socket: {}",
                        DisplayIoError(&e)
                    );
                    self.complain(&why);
                    self.drained = true;
                    break;
                }
            };
            if let Err(stranger) = self.check(datagram.sender) {
                self.complain(&stranger);
                continue;
            }
            let Some(text) = datagram.text else {
                self.complain("ignoring a notification that is too long");
                continue;
            };
            message::fields(text).for_each(|field| news.take_in(field));
        }
        news.ready &= !self.ready;
        self.ready |= news.ready;
        queue.extend(news.notifications().map(|n| (self.generation, n)));
        news
    }

    /// Whether a sender is the worker, whatever user it has become, or a process of its user or of the supervisor's.
    fn check(&self, sender: Option<libc::ucred>) -> Result<(), String> {
        let Some(sender) = sender else {
            return Err("ignoring a notification without its sender's credentials".to_owned());
        };
        let ours = sender.uid == self.user || sender.uid == geteuid().as_raw();
        // The worker has not been reaped, so the pid is still its own.
        if ours || Some(sender.pid) == self.worker {
            return Ok(());
        }
        Err(format!(
            "ignoring a notification from a stranger: process {} of user {}",
            sender.pid, sender.uid
        ))
    }

    /// Once for each generation: a process may send without end.
    fn complain(&mut self, what: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            let generation = self.generation;
            tracing::warn!(generation, "generation {generation}: {what}");
        }
    }
}

/// The user whose processes may send, besides the supervisor's own.
fn speaker(owner: Option<Owner>) -> u32 {
    owner.map_or(geteuid().as_raw(), |(user, _)| user)
}

/// No other program uses the directory, so a file of that name is a leftover.
fn bind_anew(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let address = UnixAddr::new(path)?;
    match bind(socket.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            fs::remove_file(path)?;
            Ok(bind(socket.as_raw_fd(), &address)?)
        }
        bound => Ok(bound?),
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // the worker may have done it
    }
}
