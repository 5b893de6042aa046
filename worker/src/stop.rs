//! [`Stop`]: the signals that tell a worker to drain.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as Number;

use crate::sys::signals::{self, Handling};

/// The request to stop: to accept no more connections, finish those that are accepted, and exit.
///
/// `start_server` sends SIGTERM to a worker when a new generation has taken over, and when
/// `start_server` itself stops; systemd sends it to a service; Ctrl-C sends SIGINT. A request is never
/// withdrawn, and it is for the whole process: all values of this type are equal. Copy the value to
/// where it is needed, and check it, wait for it, or poll its descriptor.
///
/// ```
/// use server_starter_worker::Stop;
/// use std::thread;
///
/// let stop = Stop::on_signals()?;
/// let worker = thread::spawn(move || {
///     while !stop.requested() {
///         // … a piece of work …
///         # stop.request();
///     }
/// });
/// stop.wait();
/// worker.join().expect("no panic");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Implementation
///
/// A signal handler records the first signal and writes one byte to a socket pair; the byte is never
/// read, so the other end stays readable. No signal is blocked, and `execve(2)` resets handled
/// signals to their default action, so child processes inherit nothing. Interrupted system calls are
/// restarted (`SA_RESTART`, `signal(7)`).
///
/// If the process was started with one of the signals blocked, [`on`](Self::on) unblocks it in the
/// calling thread. One such thread is enough. Threads started later inherit this, so call it in
/// `main` before starting threads.
///
/// A forked child that does not exec has the handler, and a [`requested`](Self::requested) of its
/// own. The descriptor is still its parent's, so such a child cannot wait for the request.
#[derive(Clone, Copy)]
pub struct Stop {
    event: &'static UnixStream,
}

/// A signal that can request a stop, `signal(7)`. `Display` gives its name.
///
/// ```
/// assert_eq!(server_starter_worker::Signal::Term.to_string(), "SIGTERM");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP
    Hup,
    /// SIGINT: Ctrl-C
    Int,
    /// SIGQUIT: Ctrl-\
    Quit,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGTERM: sent by `start_server` and systemd by default
    Term,
    /// SIGWINCH: Apache's graceful stop
    Winch,
}

impl Stop {
    /// Handles SIGTERM and SIGINT as requests to stop. Call it first in `main`, or at least before
    /// [`notify::ready`](crate::notify::ready): before this call, these signals kill the process.
    ///
    /// # Errors
    ///
    /// Those of [`on`](Self::on).
    pub fn on_signals() -> io::Result<Self> {
        Self::on(&[Signal::Term, Signal::Int])
    }

    /// Handles these signals as requests to stop, in addition to those of earlier calls. Give the
    /// signals of `start_server`'s `--signal-on-hup` and `--signal-on-term`.
    ///
    /// A second SIGINT kills the process: Ctrl-C twice ends a slow drain. The other signals may
    /// be repeated without effect; a draining worker gets another one when its supervisor stops.
    /// SIGHUP, SIGINT and SIGQUIT stay ignored if they were ignored at the start, as under `nohup` or
    /// in the background of a shell script.
    ///
    /// ```
    /// use server_starter_worker::{Signal, Stop};
    ///
    /// // For `start_server --signal-on-hup=USR1 --signal-on-term=USR1`
    /// let stop = Stop::on(&[Signal::Usr1])?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `socketpair(2)`: the limit on open files is reached.
    pub fn on(signals: &[Signal]) -> io::Result<Self> {
        let event = signals::event()?;
        for &signal in signals {
            let handling = Handling {
                keep_ignored: matches!(signal, Signal::Hup | Signal::Int | Signal::Quit),
                reset_after_first: signal == Signal::Int,
            };
            signals::handle(signal.number(), handling)?;
        }
        Ok(Self { event })
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn event(self) -> &'static UnixStream {
        self.event
    }

    /// Whether a stop was requested. Once true, always true.
    #[must_use]
    pub fn requested(self) -> bool {
        signals::first_signal().is_some()
    }

    /// The first signal that requested the stop, for the log. `None` if there was no request, or
    /// [`request`](Self::request) came first.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        let number = Number::try_from(signals::first_signal()?).ok()?;
        ALL.into_iter().find(|signal| signal.number() == number)
    }

    /// Requests a stop of this process, as a signal does.
    ///
    /// ```
    /// # use server_starter_worker::Stop;
    /// let stop = Stop::on(&[])?; // handles no signal
    /// stop.request();
    /// assert!(stop.requested());
    /// assert_eq!(stop.signal(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn request(self) {
        signals::record(NO_SIGNAL);
    }

    /// Blocks until a stop is requested.
    pub fn wait(self) {
        while !self.requested() {
            let mut fds = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: check again
        }
    }

    /// Blocks until a stop is requested, or this time is over. Returns whether a stop was requested.
    /// Use it for pauses that a stop cuts short:
    ///
    /// ```
    /// # use server_starter_worker::Stop;
    /// # use std::time::Duration;
    /// let stop = Stop::on_signals()?;
    /// while !stop.wait_timeout(Duration::from_millis(5)) {
    ///     // … periodic work …
    ///     # stop.request();
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        while !self.requested() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            let mut fds = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, poll_timeout(left));
        }
        true
    }

    /// Blocks until `fd` is readable, or a stop is requested. Returns `true` if `fd` is readable (a
    /// listener: a connection waits) or has an error, and `false` if a stop is requested, even if
    /// `fd` is readable as well.
    ///
    /// Use it for an accept loop without a runtime. Make the listener non-blocking: another
    /// generation may take the connection between this call and `accept`.
    ///
    /// ```no_run
    /// use server_starter_worker::{Stop, listeners_or_bind};
    /// use std::io::ErrorKind::WouldBlock;
    ///
    /// let stop = Stop::on_signals()?;
    /// let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
    /// listener.set_nonblocking(true)?;
    /// while stop.or_readable(&listener)? {
    ///     match listener.accept() {
    ///         Ok((connection, _)) => { /* serve it */ }
    ///         Err(error) if error.kind() == WouldBlock => {}
    ///         Err(error) => eprintln!("cannot accept: {error}"), // and pause
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `poll(2)`: out of memory, or the limit on open files is below 2.
    pub fn or_readable(self, fd: impl AsFd) -> io::Result<bool> {
        loop {
            if self.requested() {
                return Ok(false);
            }
            let mut fds = [
                PollFd::new(self.event.as_fd(), PollFlags::POLLIN),
                PollFd::new(fd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) if fds[0].any() == Some(true) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Recorded by `Stop::request`: no signal has this number.
const NO_SIGNAL: i32 = -1;

const ALL: [Signal; 7] = [
    Signal::Hup,
    Signal::Int,
    Signal::Quit,
    Signal::Usr1,
    Signal::Usr2,
    Signal::Term,
    Signal::Winch,
];

/// Converts to poll(2)'s milliseconds, rounded up so that it does not return too early. `None` is no
/// timeout.
fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else {
        return PollTimeout::NONE;
    };
    let rounded = timeout.as_micros().div_ceil(1000);
    PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX)
}

impl Signal {
    fn number(self) -> Number {
        match self {
            Self::Hup => Number::SIGHUP,
            Self::Int => Number::SIGINT,
            Self::Quit => Number::SIGQUIT,
            Self::Usr1 => Number::SIGUSR1,
            Self::Usr2 => Number::SIGUSR2,
            Self::Term => Number::SIGTERM,
            Self::Winch => Number::SIGWINCH,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number().as_str())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Stop");
        it.field("requested", &self.requested()).finish()
    }
}

/// The descriptor is readable from the request to stop on, for `poll(2)` and event loops. Do not read
/// from it: all waiters of the process share it.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_is_rounded_up_and_bounded() {
        let milliseconds = |timeout| poll_timeout(Some(timeout)).as_millis();
        assert_eq!(milliseconds(Duration::from_micros(1)), Some(1));
        assert_eq!(milliseconds(Duration::from_millis(20)), Some(20));
        assert_eq!(milliseconds(Duration::MAX), PollTimeout::MAX.as_millis());
        assert!(poll_timeout(None).is_none());
    }

    #[test]
    fn signals_are_displayed_by_name() {
        assert_eq!(Signal::Term.to_string(), "SIGTERM");
        for signal in ALL {
            assert!(signal.to_string().starts_with("SIG"));
        }
    }
}
