//! The output of the supervisor's own lines: standard error, which may be a file, a terminal, a pipe to a log
//! command or a socket of the journal.
//!
//! A reader that hangs must not stop the supervisor. So a write to a pipe or a terminal goes through a
//! non-blocking file description of its own (workers share that of standard error, which stays blocking), and
//! a write to a socket does not wait. What does not fit is queued.

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

/// The size of the queue in bytes. One half is reserved for warnings and errors.
const LIMIT: usize = 1 << 20;

struct Sink {
    /// `None` if standard error is a file, which takes everything.
    output: Option<Output>,
    queue: Queue,
}

/// The lines that a slow reader has still to get. Upgrades keep them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    waiting: VecDeque<u8>,
    /// How many lines did not fit.
    lost: u64,
}

/// An output whose reader may be slow.
#[derive(Clone)]
struct Output {
    file: Arc<File>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A pipe or terminal with a file description of our own, which does not block.
    Own,
    Socket,
    /// A pipe or terminal whose file description workers share. It blocks, so it is polled before each
    /// write.
    Shared,
}

impl Output {
    /// Writes what fits at once. The error is `WouldBlock` if nothing does.
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
                // A writable pipe takes this many bytes without blocking, pipe(7).
                (&*self.file).write(bytes.get(..libc::PIPE_BUF).unwrap_or(bytes))
            }
        }
    }
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    fn push(&mut self, line: &[u8], important: bool) {
        let limit = if important { LIMIT } else { LIMIT / 2 };
        if self.waiting.len() + line.len() > limit {
            self.lost += 1;
            return;
        }
        self.waiting.extend(line);
    }
}

impl Sink {
    const fn new() -> Sink {
        Sink {
            output: None,
            queue: Queue::new(),
        }
    }

    fn write(&mut self, line: &[u8], important: bool) {
        let Some(output) = &self.output else {
            let _ = io::stderr().write_all(line); // an error could not be logged
            return;
        };
        if !self.queue.waiting.is_empty() {
            return self.queue.push(line, important);
        }
        match output.write(line) {
            Ok(written) if written == line.len() => {}
            // The rest of a line that has begun.
            Ok(written) => self
                .queue
                .push(line.get(written..).unwrap_or_default(), true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.queue.push(line, important),
            Err(_) => {} // the reader is gone
        }
    }

    fn flush(&mut self) {
        let Some(output) = self.output.clone() else {
            return;
        };
        let queue = &mut self.queue;
        while !queue.waiting.is_empty() {
            match output.write(queue.waiting.as_slices().0) {
                Ok(written) => drop(queue.waiting.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => queue.waiting.clear(), // the reader is gone
            }
        }
        queue.waiting.shrink_to_fit();
        if queue.lost > 0 {
            let lost = std::mem::take(&mut queue.lost);
            let line = format!("{lost} lines lost: the log was not read\n");
            queue.push(line.as_bytes(), true);
        }
    }
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(line: &[u8], important: bool) {
    sink().write(line, important);
}

/// The lines that have not been written, for the next program in this process.
pub(crate) fn save() -> Queue {
    sink().queue.clone()
}

/// Goes on with the lines of the program before. Must be called after the output is set.
pub(crate) fn resume(saved: Queue) {
    let mut sink = sink();
    // In front of lines that have been queued since.
    let since = std::mem::replace(&mut sink.queue, saved);
    sink.queue.waiting.extend(since.waiting);
    sink.queue.lost += since.lost;
}

/// From now on, lines go to this pipe or terminal, without waiting for its reader. What is opened for that
/// is on descriptor `min_fd` or a higher one.
pub(crate) fn into_pipe(write_end: impl AsFd, min_fd: RawFd) {
    // Opening it again makes a file description of our own: O_NONBLOCK does not reach workers.
    let path = format!("/proc/self/fd/{}", write_end.as_fd().as_raw_fd());
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match opened.and_then(|pipe| sys::fd::move_above(pipe.into(), min_fd)) {
        Ok(own) => set_output(Some(own), Kind::Own),
        // Without /proc, or if the pipe is another user's.
        Err(_) => set_output(sys::fd::dup_above(write_end, min_fd).ok(), Kind::Shared),
    }
}

fn set_output(output: Option<OwnedFd>, kind: Kind) {
    sink().output = output.map(|fd| Output {
        file: Arc::new(File::from(fd)),
        kind,
    });
}

/// From now on, lines go to standard error, without waiting if it has a reader. Lines that are still queued for
/// the output before are dropped.
pub(crate) fn to_stderr(min_fd: RawFd) {
    let mut sink = sink();
    sink.output = None;
    sink.queue.waiting = VecDeque::new();
    drop(sink);
    let stderr = io::stderr();
    match sys::fd::metadata(&stderr).map(|is| is.mode() & libc::S_IFMT) {
        Ok(libc::S_IFIFO) => into_pipe(stderr, min_fd),
        Ok(libc::S_IFCHR) if stderr.is_terminal() => into_pipe(stderr, min_fd), // Ctrl-S stops it
        Ok(libc::S_IFSOCK) => {
            set_output(sys::fd::dup_above(stderr, min_fd).ok(), Kind::Socket);
        }
        _ => {}
    }
}

/// Waits until a slow reader has got the queued lines, for at most `timeout`.
pub(crate) fn linger(timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while let Some(output) = pending() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut fds, timeout), Ok(1..)) {
            return;
        }
        flush();
    }
}

/// The output, if lines are queued for it.
pub(crate) fn pending() -> Option<Pending> {
    let sink = sink();
    if sink.queue.waiting.is_empty() {
        None
    } else {
        sink.output.clone().map(Pending)
    }
}

/// Writes as many of the queued lines as fit.
pub(crate) fn flush() {
    sink().flush();
}

/// An output to be polled for writing, before [`flush`] is called.
pub(crate) struct Pending(Output);

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
    fn socket_that_is_not_read_blocks_no_writer_and_loses_no_line() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut sink = Sink::new();
        sink.output = Some(Output {
            file: Arc::new(File::from(OwnedFd::from(ours))),
            kind: Kind::Socket,
        });
        let lines: Vec<String> = (0..9999).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            sink.write(line.as_bytes(), false);
        }
        assert!(
            !sink.queue.waiting.is_empty(),
            "more than fits into the socket"
        );

        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            theirs.read_to_string(&mut text).map(|_| text)
        });
        while !sink.queue.waiting.is_empty() {
            sink.flush();
            std::thread::yield_now();
        }
        drop(sink);
        assert!(reader.join().unwrap().unwrap() == lines.concat());
    }
}
