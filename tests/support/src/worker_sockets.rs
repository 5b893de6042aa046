//! The sockets of the suites' own workers: they wait for connections and for the signal to stop at the same time.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use server_starter_worker::{Error, Listener, Socket, Stop, listeners};

/// The listening sockets of this worker.
pub struct WorkerSockets {
    listeners: Vec<Listener>,
}

impl WorkerSockets {
    /// Takes the sockets that the supervisor has passed, except those that do not listen.
    pub fn take() -> Result<Self, Error> {
        let mut listeners: Vec<Listener> = listeners()?.into_iter().collect();
        listeners.retain(|it| matches!(it.socket, Socket::Tcp(_) | Socket::Unix(_)));
        for listener in &listeners {
            // Another generation may accept the connection that poll(2) has shown to both.
            let set = match &listener.socket {
                Socket::Tcp(tcp) => tcp.set_nonblocking(true),
                Socket::Unix(unix) => unix.set_nonblocking(true),
                _ => Ok(()),
            };
            set.expect("a socket can be made non-blocking");
        }
        Ok(Self { listeners })
    }

    /// The keys of the sockets in `SERVER_STARTER_PORT`.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.listeners.iter().map(|listener| &listener.key);
        keys.map(|key| key.to_string_lossy().into_owned()).collect()
    }

    /// Waits for a connection, for the signal to stop, or for `timeout`; without a timeout if that is `None`.
    pub fn wait(&self, stop: Stop, timeout: Option<Duration>) {
        let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        let sockets = self
            .listeners
            .iter()
            .map(|listener| listener.socket.as_fd());
        fds.extend(sockets.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            let timeout = timeout + Duration::from_millis(1); // poll(2) counts whole milliseconds
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)
        });
        let _ = poll(&mut fds, timeout); // after EINTR the caller looks again
    }

    /// Accepts one connection of each socket that has one. Reading and writing are the same for both kinds of socket.
    pub fn accept(&self) -> Vec<UnixStream> {
        let accept = |listener: &Listener| -> Option<OwnedFd> {
            match &listener.socket {
                Socket::Tcp(tcp) => tcp.accept().ok().map(|(stream, _)| stream.into()),
                Socket::Unix(unix) => unix.accept().ok().map(|(stream, _)| stream.into()),
                _ => None,
            }
        };
        let accepted = self.listeners.iter().filter_map(accept);
        accepted.map(UnixStream::from).collect()
    }
}
