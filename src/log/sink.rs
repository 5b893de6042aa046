//! Where the supervisor's own lines go: standard error, which may be a pipe to a log command, or a
//! socket: the journal's.
//!
//! A reader that hangs must not stop the supervisor. So it writes to a pipe through a non-blocking
//! description of its own, and to a socket in a way that does not wait (workers share the other
//! description, which stays blocking), and keeps what does not fit.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use serde::{Deserialize, Serialize};

use crate::sys;

static SINK: Mutex<Sink> = Mutex::new(Sink::new());

/// How much is kept for a log command that does not read. Half of it is only for warnings and
/// errors.
const LIMIT: usize = 1 << 20;

struct Sink {
    outlet: Option<Outlet>,
    waiting: VecDeque<u8>,
    lost: u64,
}

/// What may have a reader that does not read.
#[derive(Clone)]
struct Outlet {
    file: Arc<File>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A description of our own, which does not block.
    Own,
    Socket,
    /// The description that workers have, too, and that blocks: to be asked before each write.
    Shared,
}

impl Outlet {
    /// Writes what fits at once; `WouldBlock`: nothing does.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Own => (&*self.file).write(bytes),
            Kind::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(self.file.as_raw_fd(), bytes, flags)?)
            }
            Kind::Shared => {
                let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::ZERO)? == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // What pipe(7) takes as a whole once it can be written to.
                (&*self.file).write(bytes.get(..libc::PIPE_BUF).unwrap_or(bytes))
            }
        }
    }
}

impl Sink {
    const fn new() -> Sink {
        Sink {
            outlet: None,
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    fn write(&mut self, line: &[u8], important: bool) {
        let Some(outlet) = &self.outlet else {
            let _ = io::stderr().write_all(line); // closed or full: there is nobody to tell
            return;
        };
        if !self.waiting.is_empty() {
            return self.keep(line, important);
        }
        match outlet.write(line) {
            Ok(written) if written == line.len() => {}
            Ok(written) => self.keep(line.get(written..).unwrap_or_default(), true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.keep(line, important),
            Err(_) => {} // nobody will ever read it
        }
    }

    fn keep(&mut self, line: &[u8], important: bool) {
        let limit = if important { LIMIT } else { LIMIT / 2 };
        if self.waiting.len() + line.len() > limit {
            self.lost += 1;
            return;
        }
        self.waiting.extend(line);
    }

    fn flush(&mut self) {
        let Some(outlet) = self.outlet.clone() else {
            return;
        };
        while !self.waiting.is_empty() {
            match outlet.write(self.waiting.as_slices().0) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.waiting.clear(), // nobody will ever read it
            }
        }
        self.waiting.shrink_to_fit();
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let line = format!("{lost} lines lost: nobody read them\n");
            self.keep(line.as_bytes(), true);
        }
    }
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(line: &[u8], important: bool) {
    sink().write(line, important);
}

/// The lines that nobody has taken yet, and how many have been lost, for the next program in this
/// process.
pub(crate) fn save() -> SavedLines {
    let sink = sink();
    SavedLines {
        waiting: sink.waiting.iter().copied().collect(),
        lost: sink.lost,
    }
}

/// To be called when it is settled where lines go.
pub(crate) fn resume(saved: SavedLines) {
    let mut sink = sink();
    // In front of what may have come in since.
    let since = std::mem::replace(&mut sink.waiting, saved.waiting.into());
    sink.waiting.extend(since);
    sink.lost += saved.lost;
}

/// What a slow reader has still to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedLines {
    waiting: Vec<u8>,
    lost: u64,
}

/// From now on lines go to this pipe (or terminal), without ever waiting for its reader. What is opened for that
/// lives at descriptor `min_fd` or higher.
pub(crate) fn into_pipe(write_end: impl AsFd, min_fd: RawFd) {
    // Opened anew for a description of our own, whose O_NONBLOCK is seen by nobody else.
    let path = format!("/proc/self/fd/{}", write_end.as_fd().as_raw_fd());
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match opened.and_then(|pipe| sys::fd::raise(pipe.into(), min_fd)) {
        Ok(own) => set_outlet(Some(own), Kind::Own),
        // Without /proc, or made by another user.
        Err(_) => set_outlet(
            sys::fd::duplicate_above(write_end, min_fd).ok(),
            Kind::Shared,
        ),
    }
}

fn set_outlet(outlet: Option<OwnedFd>, kind: Kind) {
    sink().outlet = outlet.map(|fd| Outlet {
        file: Arc::new(File::from(fd)),
        kind,
    });
}

/// From now on lines go to standard error, whatever that is now. If it is a pipe, a terminal or a
/// socket we do not wait for its reader either. What a reader before has not taken by now is given up.
pub(crate) fn to_stderr(min_fd: RawFd) {
    let mut sink = sink();
    sink.outlet = None;
    sink.waiting = VecDeque::new();
    drop(sink);
    let stderr = io::stderr();
    match sys::fd::metadata(&stderr).map(|is| is.mode() & libc::S_IFMT) {
        Ok(libc::S_IFIFO) => into_pipe(stderr, min_fd),
        Ok(libc::S_IFCHR) if stderr.is_terminal() => into_pipe(stderr, min_fd), // Ctrl-S stops it
        Ok(libc::S_IFSOCK) => {
            set_outlet(sys::fd::duplicate_above(stderr, min_fd).ok(), Kind::Socket);
        }
        _ => {}
    }
}

/// Lets a slow reader of the last lines catch up, for at most `timeout`.
pub(crate) fn linger(timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while let Some(pipe) = pending() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut fds, timeout), Ok(1..)) {
            return;
        }
        flush();
    }
}

/// The pipe or socket, if lines are waiting for it to take more.
pub(crate) fn pending() -> Option<Pending> {
    let sink = sink();
    if sink.waiting.is_empty() {
        None
    } else {
        sink.outlet.clone().map(Pending)
    }
}

/// Writes as much of the waiting lines as fits.
pub(crate) fn flush() {
    sink().flush();
}

/// To be polled for writing; then [`flush`].
pub(crate) struct Pending(Outlet);

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_that_is_not_read_keeps_nobody_waiting() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut sink = Sink::new();
        sink.outlet = Some(Outlet {
            file: Arc::new(File::from(OwnedFd::from(ours))),
            kind: Kind::Socket,
        });
        let lines: Vec<String> = (0..9999).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            sink.write(line.as_bytes(), false);
        }
        assert!(!sink.waiting.is_empty(), "more than fits into the socket");

        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            theirs.read_to_string(&mut text).map(|_| text)
        });
        while !sink.waiting.is_empty() {
            sink.flush();
            std::thread::yield_now();
        }
        drop(sink);
        assert!(reader.join().unwrap().unwrap() == lines.concat());
    }
}
