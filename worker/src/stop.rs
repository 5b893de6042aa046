//! The signal to drain on.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as Number;

use crate::sys::signals::{self, Manner};

/// Whether this process was told to stop: to accept no more, finish what it has accepted, and exit.
///
/// `start_server` sends its workers SIGTERM when a new generation has taken over, and when all is to
/// end; systemd does it for a service; Ctrl-C sends SIGINT. A process is told once and for all, so
/// every value of this type is the same one: copy it to wherever it is needed, and ask, wait,
/// or poll its descriptor.
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
/// # How it is made
///
/// A signal handler notes the signal, and writes into a socket pair that nobody reads. No
/// signal is blocked, so children inherit nothing: `execve(2)` gives a handled signal its default
/// effect back. Calls in progress are restarted (`SA_RESTART`).
///
/// If the process was started with one of the signals blocked, it is unblocked in the thread that
/// calls [`on`](Self::on). One such thread is enough. Call it in `main` before the others are
/// started, and they inherit that.
///
/// A child that is forked and does not exec has the handler, and [`requested`](Self::requested) is
/// its own. The descriptor remains its parent's: nobody can wait in such a child.
#[derive(Clone, Copy)]
pub struct Stop {
    event: &'static UnixStream,
}

/// A signal that may mean stop, `signal(7)`. Shown by its name.
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
    /// SIGTERM: what `start_server` and systemd send, unless told otherwise
    Term,
    /// SIGWINCH: Apache's graceful stop
    Winch,
}

impl Stop {
    /// On SIGTERM and SIGINT. Call it first thing in `main`, or at least before the server is
    /// ready: until then, these signals simply end the process.
    ///
    /// # Errors
    ///
    /// Those of [`on`](Self::on).
    pub fn on_signals() -> io::Result<Self> {
        Self::on(&[Signal::Term, Signal::Int])
    }

    /// On these signals, and on those of earlier calls. They are what `start_server` is told to
    /// send: `--signal-on-hup`, `--signal-on-term`.
    ///
    /// SIGINT means it once: the second one, an impatient Ctrl-C, ends the process there and then.
    /// The others may come again, as when a draining worker's supervisor is told to stop, and
    /// change nothing. SIGHUP, SIGINT and SIGQUIT stay ignored if they were ignored, as under
    /// `nohup` or in the background of a shell script.
    ///
    /// ```
    /// use server_starter_worker::{Signal, Stop};
    ///
    /// // For `start_server --signal-on-hup=USR1`; TERM then might mean to be quicker.
    /// let stop = Stop::on(&[Signal::Usr1])?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Out of descriptors (`socketpair(2)`).
    pub fn on(signals: &[Signal]) -> io::Result<Self> {
        let event = signals::event()?;
        for &signal in signals {
            let manner = Manner {
                stays_ignored: matches!(signal, Signal::Hup | Signal::Int | Signal::Quit),
                once: signal == Signal::Int,
            };
            signals::handle(signal.number(), manner)?;
        }
        Ok(Self { event })
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn event(self) -> &'static UnixStream {
        self.event
    }

    /// Whether the process was told to stop. It stays so.
    #[must_use]
    pub fn requested(self) -> bool {
        signals::first().is_some()
    }

    /// The first signal that told it to, for the log. None after [`request`](Self::request).
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        let number = Number::try_from(signals::first()?).ok()?;
        ALL.into_iter().find(|signal| signal.number() == number)
    }

    /// Tells this process to stop, as a signal would.
    ///
    /// ```
    /// # use server_starter_worker::Stop;
    /// let stop = Stop::on(&[])?; // on no signal at all
    /// stop.request();
    /// assert!(stop.requested());
    /// assert_eq!(stop.signal(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn request(self) {
        signals::note(NO_SIGNAL);
    }

    /// Waits until the process is told to stop.
    pub fn wait(self) {
        while !self.requested() {
            let mut fds = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: look again
        }
    }

    /// Waits for at most this long; says whether the process was told to stop. A pause that ends
    /// early when it has to:
    ///
    /// ```
    /// # use server_starter_worker::Stop;
    /// # use std::time::Duration;
    /// let stop = Stop::on_signals()?;
    /// while !stop.wait_timeout(Duration::from_millis(5)) {
    ///     // … what is to be done now and then …
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
            let _ = poll(&mut fds, in_milliseconds(left));
        }
        true
    }

    /// Waits until `fd` has something to read, a listener a connection to accept: `true`. Or until
    /// the process is told to stop, which counts first: `false`.
    ///
    /// For an accept loop without a runtime. Make the listener non-blocking, for another generation
    /// may take the connection between this and `accept`:
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
    ///         Err(error) => eprintln!("cannot accept: {error}"), // and wait a little
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `poll(2)`: it is out of memory, or beyond the limit on open files.
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

/// What `request` notes: no signal has this number.
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

/// As poll(2) wants it: rounded up, so as not to wake up too early; none is for ever.
fn in_milliseconds(timeout: Option<Duration>) -> PollTimeout {
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

/// Readable from when the process was told to stop on, for `poll(2)` and the like. Never read from
/// it: all who wait share it.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_and_bounded() {
        let milliseconds = |timeout| in_milliseconds(Some(timeout)).as_millis();
        assert_eq!(milliseconds(Duration::from_micros(1)), Some(1));
        assert_eq!(milliseconds(Duration::from_millis(20)), Some(20));
        assert_eq!(milliseconds(Duration::MAX), PollTimeout::MAX.as_millis());
        assert!(in_milliseconds(None).is_none());
    }

    #[test]
    fn every_signal_has_its_name() {
        assert_eq!(Signal::Term.to_string(), "SIGTERM");
        for signal in ALL {
            assert!(signal.to_string().starts_with("SIG"));
        }
    }
}
