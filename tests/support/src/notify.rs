//! sd_notify(3): a client in the place of a worker, and a server in the place of the service manager.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{BOUND, Process, Supervisor, SupervisorBuilder, eventually, wait_for};

/// A client of the notification socket of one worker. The test runs as the worker's user, so that its messages count as
/// the worker's.
pub struct NotifyClient {
    socket: UnixDatagram,
    /// The path of the socket.
    pub path: PathBuf,
}

impl NotifyClient {
    /// A client of the socket in this worker's `NOTIFY_SOCKET`.
    #[track_caller]
    pub fn of(worker: Process) -> Self {
        let path = worker.variable("NOTIFY_SOCKET");
        Self::connect(path.unwrap_or_else(|| panic!("{worker} has no NOTIFY_SOCKET")))
    }

    /// A client of the socket at this path.
    #[track_caller]
    pub fn connect(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let socket = UnixDatagram::unbound().unwrap();
        let connected = socket.connect(&path);
        connected.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { socket, path }
    }

    /// Sends a message. Blocks while the queue is full.
    #[track_caller]
    pub fn send(&self, text: impl AsRef<[u8]>) {
        self.try_send(text).unwrap();
    }

    /// Sends a message, which may fail. Blocks while the queue is full.
    pub fn try_send(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.send(text.as_ref()).map(drop)
    }

    /// Sends a message with a descriptor, `count` times, and waits until the receiver has closed them all. As
    /// sd_notify_barrier(3) does it: the descriptor is the end of a pipe, and the other end sees its close.
    #[track_caller]
    pub fn send_fds_and_wait_closed(&self, text: &str, count: usize) {
        let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let fds = vec![write.as_raw_fd(); count];
        let message = [ControlMessage::ScmRights(&fds)];
        let parts = [IoSlice::new(text.as_bytes())];
        let flags = MsgFlags::empty();
        sendmsg::<()>(self.socket.as_raw_fd(), &parts, &message, flags, None).unwrap();
        drop(write);
        eventually("all descriptors are closed", || {
            nix::unistd::read(&read, &mut [0]) == Ok(0)
        });
    }

    /// The socket, for another process.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }
}

impl Supervisor {
    /// The worker of this generation, once it is up, and its notification socket.
    #[track_caller]
    pub fn wait_notifying(&self, generation: u32) -> (Process, NotifyClient) {
        let worker = self.wait_up(generation);
        (worker, NotifyClient::of(worker))
    }
}

/// The service manager's end of a notification socket.
pub struct NotifyServer(UnixDatagram);

impl NotifyServer {
    /// Receives what is sent to a socket at this path.
    #[track_caller]
    pub fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The next message; `None` if there is none yet.
    #[track_caller]
    pub fn receive(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.0.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// Waits for a message with this line; the messages before it are dropped.
    #[track_caller]
    pub fn wait(&self, line: &str) -> String {
        let mut seen = Vec::new();
        let found = wait_for(|| {
            let message = self.receive()?;
            let found = message.lines().any(|it| it == line);
            seen.push(message.clone());
            found.then_some(message)
        });
        found.unwrap_or_else(|| panic!("not within {BOUND:?}: {line} in {seen:?}"))
    }
}

impl SupervisorBuilder {
    /// The supervisor has a service manager, whose `NOTIFY_SOCKET` is `DIR/notify`.
    pub fn notify_server(self) -> (NotifyServer, Self) {
        let path = self.path("notify");
        (NotifyServer::bind(&path), self.env("NOTIFY_SOCKET", path))
    }
}
