//! The notification socket of one generation. The socket tells the sender's generation; the sender's pid does
//! not: it may be that of a child of the worker, or be gone when the message is read.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::lchown;
use std::path::Path;
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
use crate::sys::datagram::{Datagram, ReceiveBuffer};
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// The most messages that are read from one socket in one iteration.
const BATCH_SIZE: usize = 64;

/// A notification socket. Its file is removed when it is dropped.
pub(super) struct NotifySocket {
    fd: OwnedFd,
    state: State,
    /// Dropped after the file. The last socket in it removes the directory.
    _dir: Rc<RuntimeDir>,
    /// The user whose processes may send, besides the supervisor's own.
    user: u32,
    /// The socket is readable.
    pub(super) readable: bool,
    /// The socket was shut down: nothing comes any more.
    pub(super) ended: bool,
    /// The latest reading has emptied it.
    pub(super) drained: bool,
}

/// What is saved of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    generation: Generation,
    /// Not a `PathBuf`, which serde takes for text.
    path: OsString,
    /// The worker, once it runs.
    worker: Option<Pid>,
    /// A message was rejected; already logged.
    warned: bool,
    /// READY has come. Later ones have no effect.
    ready: bool,
}

/// A socket, as saved for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedNotifySocket {
    fd: RawFd,
    state: State,
}

impl SavedNotifySocket {
    pub(super) fn directory(&self) -> &Path {
        let path = Path::new(&self.state.path);
        path.parent().unwrap_or(Path::new("/"))
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
    fn add(&mut self, field: Field) {
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
    /// Binds a socket on descriptor `min_fd` or higher.
    pub(super) fn open(
        generation: Generation,
        dir: &Rc<RuntimeDir>,
        owner: Option<Owner>,
        min_fd: RawFd,
    ) -> io::Result<NotifySocket> {
        let path = dir.socket(generation);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        let fd = sys::fd::move_above(fd, min_fd)?;
        setsockopt(&fd, sockopt::PassCred, &true)?;
        bind_replacing(&fd, &path)?;
        let state = State {
            generation,
            path: path.into(),
            worker: None,
            warned: false,
            ready: false,
        };
        // From here on a failure removes the file.
        let socket = NotifySocket::new(fd, state, Rc::clone(dir), owner);
        if let Some((user, group)) = owner {
            lchown(socket.path(), Some(user), Some(group))?;
        }
        Ok(socket)
    }

    fn new(fd: OwnedFd, state: State, dir: Rc<RuntimeDir>, owner: Option<Owner>) -> NotifySocket {
        NotifySocket {
            fd,
            state,
            _dir: dir,
            user: owner.map_or(geteuid().as_raw(), |(user, _)| user),
            readable: false,
            ended: false,
            drained: false,
        }
    }

    pub(super) fn save(&self, fds: &mut FdSet) -> SavedNotifySocket {
        SavedNotifySocket {
            fd: fds.keep(&self.fd),
            state: self.state.clone(),
        }
    }

    pub(super) fn resume(
        saved: SavedNotifySocket,
        dir: Rc<RuntimeDir>,
        owner: Option<Owner>,
    ) -> io::Result<NotifySocket> {
        let fd = sys::fd::adopt(saved.fd)?;
        Ok(NotifySocket::new(fd, saved.state, dir, owner))
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.state.path)
    }

    pub(super) fn generation(&self) -> Generation {
        self.state.generation
    }

    pub(super) fn set_worker(&mut self, pid: Pid) {
        self.state.worker = Some(pid);
    }

    /// Reads what has come, at most a batch.
    pub(super) fn read(&mut self, buffer: &mut ReceiveBuffer, queue: &mut Queue) -> Batch {
        let mut batch = Batch::default();
        self.drained = false;
        for _ in 0..BATCH_SIZE {
            match buffer.receive(&self.fd) {
                Ok(Some(datagram)) => self.accept(&datagram, &mut batch),
                Ok(None) => {
                    self.drained = true;
                    break;
                }
                Err(e) => {
                    let why = DisplayIoError(&e);
                    self.warn(&format!("cannot read its notification socket: {why}"));
                    self.drained = true;
                    break;
                }
            }
        }
        batch.ready &= !self.state.ready;
        self.state.ready |= batch.ready;
        let notifications = batch.notifications();
        queue.extend(notifications.map(|notification| (self.generation(), notification)));
        batch
    }

    fn accept(&mut self, datagram: &Datagram<'_>, batch: &mut Batch) {
        match (self.check(datagram.sender), datagram.text) {
            (Err(why), _) => self.warn(&why),
            (Ok(()), None) => self.warn("ignoring a notification that is too long"),
            (Ok(()), Some(text)) => message::fields(text).for_each(|field| batch.add(field)),
        }
    }

    /// Accepts the worker, whatever user it has become, and processes of its user or of the supervisor's.
    fn check(&self, sender: Option<libc::ucred>) -> Result<(), String> {
        let Some(sender) = sender else {
            return Err("ignoring a notification without its sender's credentials".to_owned());
        };
        let trusted_user = sender.uid == self.user || sender.uid == geteuid().as_raw();
        // The worker has not been reaped, so the pid is still its own.
        if trusted_user || Some(sender.pid) == self.state.worker {
            return Ok(());
        }
        Err(format!(
            "ignoring a notification from another user: process {} of user {}",
            sender.pid, sender.uid
        ))
    }

    /// Logs a warning, once for each generation: a process may send without end.
    fn warn(&mut self, what: &str) {
        if !std::mem::replace(&mut self.state.warned, true) {
            let generation = self.generation();
            tracing::warn!(generation, "generation {generation}: {what}");
        }
    }
}

/// No other program uses the directory, so a file of that name is a leftover.
fn bind_replacing(socket: &OwnedFd, path: &Path) -> io::Result<()> {
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
        self.fd.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path()); // the worker may have done it
    }
}
