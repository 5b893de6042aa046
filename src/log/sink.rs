//! Where the supervisor's own lines go: standard error, which may be a pipe to a log command, or a
//! socket: the journal's.
//!
//! A reader that hangs must not stop the supervisor. So it writes to a pipe through a non-blocking
//! description of its own, and to a socket in a way that does not wait (workers share the other
//! description, which stays blocking), and keeps what does not fit.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::fstat;

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
    is_socket: bool,
}

impl Outlet {
    /// Writes what fits at once; `WouldBlock`: nothing does.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_socket {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            return Ok(send(self.file.as_raw_fd(), bytes, flags)?);
        }
        (&*self.file).write(bytes)
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
            let who = match outlet.is_socket {
                true => "the reader of standard error",
                false => "the log command",
            };
            let line = format!("{lost} lines lost: {who} did not read\n");
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

/// From now on lines go to this pipe, without ever waiting for its reader. What is opened for that
/// lives at descriptor `above` or higher.
pub(crate) fn into_pipe(write_end: impl AsFd, above: RawFd) {
    // Opened anew for a description of our own, whose O_NONBLOCK is seen by nobody else.
    let path = format!("/proc/self/fd/{}", write_end.as_fd().as_raw_fd());
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let opened = opened.and_then(|pipe| sys::fd::raise(pipe.into(), above));
    // Without /proc: as before, through standard error, which waits.
    set_outlet(opened.ok(), false);
}

fn set_outlet(outlet: Option<OwnedFd>, is_socket: bool) {
    sink().outlet = outlet.map(|fd| Outlet {
        file: Arc::new(File::from(fd)),
        is_socket,
    });
}

/// From now on lines go to standard error, whatever that is now. If it is a pipe or a socket we do
/// not wait for its reader either. What a reader before has not taken by now is given up.
pub(crate) fn to_stderr(above: RawFd) {
    let mut sink = sink();
    sink.outlet = None;
    sink.waiting = VecDeque::new();
    drop(sink);
    let stderr = io::stderr();
    match fstat(&stderr).map(|stat| stat.st_mode & libc::S_IFMT) {
        Ok(libc::S_IFIFO) => into_pipe(stderr, above),
        Ok(libc::S_IFSOCK) => set_outlet(sys::fd::duplicate_above(stderr, above).ok(), true),
        _ => {}
    }
}

/// Lets a slow reader of the last lines catch up, for at most `patience`.
pub(crate) fn linger(patience: Duration) {
    let deadline = Instant::now() + patience;
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
            is_socket: true,
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
