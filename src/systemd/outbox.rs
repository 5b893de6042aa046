//! Sending to systemd's notification socket without ever waiting for it.
//!
//! The socket blocks when systemd does not read: its queue is short, and all services share it. What has to
//! arrive (`READY=1`, `RELOADING=1`, `STOPPING=1`) is kept in order and sent once, as soon as there is room
//! again. What is only of use now (a status line, a watchdog ping) is dropped instead.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::error::DisplayIoError;
use crate::machine::Time;

/// The pause before a message is sent again that could not be sent for another reason than a full queue.
const RETRY: Duration = Duration::from_secs(1);

/// How often that is tried. systemd has given the service up by then.
const TRIES: u32 = 90;

/// The most messages that are kept. Beyond that the oldest reload is forgotten, `RELOADING=1` with its
/// `READY=1`: the later ones say more.
const CAPACITY: usize = 16;

/// Messages that systemd has not taken yet.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<String>,
    /// Connected to a socket whose queue is full; writable when there is room.
    full: Option<UnixDatagram>,
    /// The last attempt failed for another reason.
    failed: bool,
    retry_at: Option<Time>,
    tries: u32,
}

impl Outbox {
    /// Messages that the program before has not got rid of.
    pub(super) fn resume(queue: Vec<String>) -> Outbox {
        Outbox {
            failed: !queue.is_empty(),
            queue: queue.into(),
            ..Outbox::default()
        }
    }

    pub(super) fn unsent(&self) -> Vec<String> {
        self.queue.iter().cloned().collect()
    }

    /// Sends these in one datagram now, or as soon as possible.
    pub(super) fn post(&mut self, states: &[NotifyState<'_>]) {
        if self.queue.len() >= CAPACITY {
            self.queue.drain(..2);
        }
        self.queue.push_back(text(states));
        if self.full.is_none() {
            self.flush();
        }
    }

    /// Sends these in one datagram if that is possible now. Returns whether it was.
    pub(super) fn offer(&mut self, states: &[NotifyState<'_>]) -> bool {
        if !self.queue.is_empty() {
            return false; // what waits is older
        }
        match send(&text(states)) {
            Ok(()) => true,
            Err((e, _)) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err((e, _)) => {
                self.complain(&e);
                false
            }
        }
    }

    /// Sends what it can, in order.
    pub(super) fn flush(&mut self) {
        self.full = None;
        while let Some(message) = self.queue.front() {
            match send(message) {
                Ok(()) => {
                    self.queue.pop_front();
                    self.failed = false;
                    self.retry_at = None;
                    self.tries = 0;
                }
                Err((e, socket)) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.full = socket;
                    return;
                }
                Err((e, _)) => {
                    self.complain(&e);
                    return;
                }
            }
        }
    }

    fn complain(&mut self, e: &io::Error) {
        if std::mem::replace(&mut self.failed, true) {
            return; // already logged
        }
        let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        tracing::warn!(
            "failed to notify systemd: {}: {}{}",
            socket.to_string_lossy(),
            DisplayIoError(e),
            hint(e)
        );
    }

    /// To be polled for room; `None` while no message waits for it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.full.as_ref().map(AsFd::as_fd)
    }

    /// When [`tick`](Outbox::tick) has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waits = !self.queue.is_empty() && self.full.is_none();
        waits.then(|| self.retry_at.unwrap_or(Time::ZERO))
    }

    /// Tries again what has failed, at most once a second.
    pub(super) fn tick(&mut self, now: Time) {
        if self.queue.is_empty() || self.full.is_some() {
            return;
        }
        match self.retry_at {
            None => self.retry_at = Some(now.saturating_add(RETRY)),
            Some(at) if at <= now => {
                self.retry_at = Some(now.saturating_add(RETRY));
                self.tries += 1;
                if self.tries > TRIES {
                    self.queue.clear();
                    self.retry_at = None;
                    self.tries = 0;
                }
                self.flush();
            }
            Some(_) => {}
        }
    }
}

fn text(states: &[NotifyState<'_>]) -> String {
    let mut text = String::new();
    for state in states {
        let _ = writeln!(text, "{state}"); // to a string, which does not fail
    }
    text
}

/// Sends one datagram without waiting. An error comes with the socket, if that could be connected.
fn send(message: &str) -> Result<(), (io::Error, Option<UnixDatagram>)> {
    let socket = connect().map_err(|e| (e, None))?;
    match socket.send(message.as_bytes()) {
        Ok(_) => Ok(()),
        Err(e) => Err((e, Some(socket))),
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The settings of a unit that keep the service from its notification socket.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EACCES | libc::ECONNREFUSED) => {
            " (RootDirectory=, InaccessiblePaths= or TemporaryFileSystem= in the unit may hide it)"
        }
        _ => "",
    }
}
