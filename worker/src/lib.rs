//! For servers run by `start_server` or by systemd: their listening sockets, owned and checked; a
//! word when they are ready; and the signal to drain on.
//!
//! ```no_run
//! use server_starter_worker::{Stop, listeners_or_bind, notify};
//!
//! # fn serve(_: &std::net::TcpListener, _: Stop) {}
//! let stop = Stop::on_signals()?;
//! let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
//! notify::ready()?;
//! serve(&listener, stop); // until told to stop; and finish what is accepted
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same program runs under `start_server`, which starts one *generation* of it after another on
//! the same sockets; as a service with a `.socket` unit; and bare, from a shell. `examples/` has a
//! server with threads, one on hyper and one on axum that do all of it and lose no request.
//!
//! # The environment
//!
//! | variable | meaning | read by |
//! |---|---|---|
//! | `SERVER_STARTER_PORT` | the sockets: `KEY=FD`, joined by `;`. The key is the `--port` or `--path` as typed: `8080`, `127.0.0.1:8080`, `[::1]:8080`, `/run/app.sock` | [`listeners`] |
//! | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_PIDFDID`, `LISTEN_FDNAMES` | the same as systemd says it: how many, for whom, and their names (`sd_listen_fds(3)`) | [`listeners`] |
//! | `SERVER_STARTER_GENERATION` | 1 for the first generation, one more for every attempt | [`generation`] |
//! | `NOTIFY_SOCKET` | who wants to know that the server is ready (`sd_notify(3)`) | [`notify`] |
//! | `WATCHDOG_USEC`, `WATCHDOG_PID` | how often it has to show that it is alive (`sd_watchdog_enabled(3)`) | [`notify::watchdog_interval`] |
//!
//! None is ever unset or changed. A child of this process may inherit them, but not the sockets:
//! those are close-on-exec.
//!
//! # What is shared
//!
//! The supervisor and all generations hold the same open file description (`open(2)`) of each
//! socket. So a connection that one generation leaves in the queue is taken by the next; and so
//! whatever is set on the socket is set for all: socket options, and `O_NONBLOCK`.
//! Sockets are handed over blocking, and [`listeners`] leaves them as they are.
//!
//! # To lose no request
//!
//! - Install [`Stop`] before saying [`notify::ready`].
//! - Told to stop, accept no more, at once. What waits in the queue is the next generation's.
//! - Never call `shutdown(2)` on a listener: it stops listening for every generation.
//! - `poll` and then `accept` can block in `accept`, when another generation was faster: make the
//!   listener non-blocking.
//! - Answer what is accepted, even if nothing of its request has been read yet. (The graceful
//!   shutdown of hyper closes such a connection. So the examples call it last.)
//! - Keep-alive: answer with `Connection: close`, and let idle connections have their next request
//!   for a moment: one that is closed just when the client sends it is lost.
//!
//! # Features
//!
//! `tokio`: `IntoTokio`, which turns the sockets into those of tokio, and `Stop::stopped`, a future.
//!
//! # What lives where
//!
//! `environment` and `listen_fds` read the variables; `socket` gives each descriptor its type, and
//! `seqpacket` is the one that std lacks; `listeners` finds the one you want; `error` says what was
//! wrong. [`notify`] speaks to the one who started us, `stop` listens to it, `with_tokio` does so
//! for tokio. `sys` has all unsafe code: it takes over descriptors and handles signals.

mod environment;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod listen_fds;
mod listeners;
pub mod notify;
mod seqpacket;
mod socket;
mod stop;
mod sys;
#[cfg(feature = "tokio")]
mod with_tokio;

use std::env;
use std::fmt::Debug;
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, Ordering};

pub use error::{EntryError, Error};
use listen_fds::{Passed, Variables};
pub use listeners::{Listener, Listeners};
pub use seqpacket::UnixSeqpacketListener;
pub use socket::{Kind, Socket};
pub use stop::{Signal, Stop};
#[cfg(feature = "tokio")]
pub use with_tokio::IntoTokio;

/// Takes the sockets handed to this process: those of `SERVER_STARTER_PORT`, all ports as given on
/// `start_server`'s command line and then all paths; if that is not set, those of `LISTEN_FDS`, by
/// number from 3 up.
///
/// If both are set, `SERVER_STARTER_PORT` says which and how they are called, and `LISTEN_FDNAMES`
/// adds the names, descriptor by descriptor. The result is empty when the variable is empty: the
/// server was started without sockets. `LISTEN_FDS` counts only if it is for this process:
/// `LISTEN_PID` is its number, and `LISTEN_PIDFDID`, where it is set and the kernel can tell (Linux
/// 6.9), its pidfd's inode.
///
/// Every descriptor is close-on-exec from here on: the children of this process do not get it.
/// Nothing else about the socket changes.
///
/// Call it once, and first in `main`, before the program opens anything: the descriptors are
/// given by number, and this function makes itself their owner. As a guard, a descriptor that is
/// already close-on-exec is refused, since it cannot have come through `execve(2)`: std makes
/// every descriptor it opens so.
///
/// ```
/// use server_starter_worker::{Socket, listeners};
///
/// match listeners() {
///     Ok(all) => {
///         for listener in all {
///             match listener.socket {
///                 Socket::Tcp(tcp) => println!("{:?}: {}", listener.key, tcp.local_addr()?),
///                 other => println!("{:?}: a {}", listener.key, other.kind()),
///             }
///         }
///     }
///     Err(error) if error.is_not_started() => println!("nobody gave us any"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`Error::NotStarted`]: neither is set, or `LISTEN_FDS` is for another process.
/// - [`Error::AlreadyTaken`]: not the first call in this process. A descriptor has one owner;
///   this holds even when the first call failed.
/// - [`Error::Entry`], [`Error::Descriptor`]: an entry is malformed, or its descriptor is not what
///   the one who passed it may pass. That is a listening or datagram socket; whatever `LISTEN_FDS`
///   counts as well may be anything that is open. No socket is taken then: those before it are
///   closed, in this process alone.
/// - [`Error::Variable`]: a number or the names make no sense.
pub fn listeners() -> Result<Listeners, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let entries = env::var_os("SERVER_STARTER_PORT");
    let (passed, listen_pid) = match Variables::from_environment().passed()? {
        Passed::ToUs(passed) => (Some(passed), None),
        Passed::To(pid) => (None, Some(pid)),
        Passed::Nothing => (None, None),
    };
    if entries.is_none() && passed.is_none() {
        return Err(Error::NotStarted { listen_pid });
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::AlreadyTaken);
    }
    match (entries, passed) {
        (Some(entries), passed) => Listeners::take_over(&entries, passed.as_ref()),
        (None, Some(passed)) => Listeners::take_over_passed(&passed),
        (None, None) => Err(Error::NotStarted { listen_pid }),
    }
}

/// Takes the sockets as [`listeners`] does; if nobody has handed any to this process, binds a TCP
/// listener to this address: so the same program runs from a shell.
///
/// The address is whatever std takes: `"127.0.0.1:8080"`, `"localhost:8080"`, `("::1", 8080)`; of
/// several the first that can be bound, as with `TcpListener::bind`. Where the server listens in
/// production is for the supervisor to say: there the address is not looked at. A `LISTEN_FDS` for
/// another process counts as none, as it does for libsystemd: the shell you type in may have one.
///
/// ```
/// let listener = server_starter_worker::listeners_or_bind("127.0.0.1:0")?.take_tcp()?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`listeners`] other than [`Error::NotStarted`], and [`Error::Bind`]. Started by
/// `start_server` without sockets, it binds none: the next generation could not bind it again.
pub fn listeners_or_bind(address: impl ToSocketAddrs + Debug) -> Result<Listeners, Error> {
    match listeners() {
        Err(error) if error.is_not_started() => Listeners::bind(address),
        other => other,
    }
}

/// The number of this generation, from `SERVER_STARTER_GENERATION`: 1 for the first, and greater
/// for every later one. Numbers are left out when a generation fails to start.
///
/// `None` when the variable is not set or not a decimal number: this process was not started by
/// `start_server`.
///
/// ```
/// let generation = server_starter_worker::generation().unwrap_or(0);
/// println!("generation {generation}");
/// ```
#[must_use]
pub fn generation() -> Option<u64> {
    environment::decimal(env::var_os("SERVER_STARTER_GENERATION")?.as_encoded_bytes())
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
