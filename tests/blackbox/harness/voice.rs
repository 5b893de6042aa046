//! What a worker could say to its supervisor, sd_notify(3): said in its stead by the test, which runs as the same user.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{Process, SLEEPS, Setup, Supervisor};

/// A connection to the notification socket of one worker.
pub(crate) struct Voice {
    socket: UnixDatagram,
    pub(crate) path: PathBuf,
}

impl Voice {
    /// That of this worker, by its `NOTIFY_SOCKET`.
    #[track_caller]
    pub(crate) fn of(worker: Process) -> Self {
        let path = worker.variable("NOTIFY_SOCKET");
        Self::at(path.unwrap_or_else(|| panic!("{worker} has no NOTIFY_SOCKET")))
    }

    /// The socket at this path.
    #[track_caller]
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let socket = UnixDatagram::unbound().unwrap();
        socket
            .connect(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { socket, path }
    }

    /// One message. Waits while the queue is full.
    #[track_caller]
    pub(crate) fn say(&self, text: impl AsRef<[u8]>) {
        self.try_say(text).unwrap();
    }

    pub(crate) fn try_say(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.send(text.as_ref()).map(drop)
    }

    /// A message with a descriptor, so many times, and its receiver closes them all: as sd_notify_barrier(3) does it, by
    /// a pipe whose other end hears of that.
    #[track_caller]
    pub(crate) fn expect_closed(&self, text: &str, times: usize) {
        let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let fds = vec![write.as_raw_fd(); times];
        let message = [ControlMessage::ScmRights(&fds)];
        let parts = [IoSlice::new(text.as_bytes())];
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &parts,
            &message,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(write);
        super::eventually("all descriptors are closed", || {
            nix::unistd::read(&read, &mut [0]) == Ok(0)
        });
    }

    /// The connection itself, for another process.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }
}

/// Nothing but READY counts, and there is time for it.
pub(crate) const NOTIFY: [&str; 2] = ["--ready=notify", "--start-timeout=1000"];

/// A worker that will say READY when the test does.
pub(crate) fn starting(s: &Supervisor, generation: u32) -> (Process, Voice) {
    let worker = s.wait_up(generation);
    (worker, Voice::of(worker))
}

/// With these options, generation 1 serves by its own word.
pub(crate) fn serving(options: &[&str]) -> Supervisor {
    let s = Setup::new(options).sh(SLEEPS).spawn();
    starting(&s, 1).1.say("READY=1");
    s.wait_generation(1);
    s
}
