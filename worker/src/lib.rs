//! For servers run by `start_server` or by systemd: their listening sockets, owned and checked;
//! notifications of readiness; and the signal to drain on.
//!
//! ```no_run
//! use server_starter_worker::{Stop, listeners_or_bind, notify};
//!
//! # fn serve(_: &std::net::TcpListener, _: Stop) {}
//! let stop = Stop::on_signals()?;
//! let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
//! notify::ready()?;
//! serve(&listener, stop); // until a stop is requested; then finish accepted requests
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same program runs under `start_server`, which starts one *generation* of it after another on
//! the same sockets; as a service with a `.socket` unit; and from a shell. `examples/` has complete
//! servers that lose no request: with threads, on hyper and on axum.
//!
//! # The environment
//!
//! | variable | meaning | read by |
//! |---|---|---|
//! | `SERVER_STARTER_PORT` | the sockets: `KEY=FD`, joined by `;`. The key is the `--port` or `--path` as typed: `8080`, `127.0.0.1:8080`, `[::1]:8080`, `/run/app.sock` | [`listeners`] |
//! | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_PIDFDID`, `LISTEN_FDNAMES` | the sockets as systemd passes them: count, process, and names (`sd_listen_fds(3)`) | [`listeners`] |
//! | `SERVER_STARTER_GENERATION` | 1 for the first generation, one more for every attempt | [`generation`] |
//! | `NOTIFY_SOCKET` | the supervisor's socket for notifications (`sd_notify(3)`) | [`notify`] |
//! | `WATCHDOG_USEC`, `WATCHDOG_PID` | the longest time between signs of life, in microseconds, and the process they are expected from (`sd_watchdog_enabled(3)`) | [`notify::watchdog_interval`] |
//!
//! This crate never unsets or changes a variable. A child of this process may inherit the variables,
//! but not the sockets: those are close-on-exec.
//!
//! # What generations share
//!
//! The supervisor and all generations hold the same open file description (`open(2)`) of each
//! socket. So a connection that one generation leaves in the queue is accepted by the next. And a
//! socket option or `O_NONBLOCK` that one generation sets is set for all. `start_server` creates
//! blocking sockets, and [`listeners`] does not change them.
//!
//! # How to lose no request
//!
//! - Create [`Stop`] before calling [`notify::ready`].
//! - When a stop is requested, stop accepting at once. The next generation accepts the connections
//!   that wait in the queue.
//! - Never call `shutdown(2)` on a listener: it stops listening for every generation.
//! - Make the listener non-blocking if you `poll` before `accept`: another generation may take the
//!   connection in between, and `accept` would block.
//! - Answer every accepted connection, even if nothing of its request has been read yet. (The graceful
//!   shutdown of hyper closes such a connection, so the examples call it last.)
//! - Keep-alive: answer with `Connection: close`, and keep idle connections open for a moment. A
//!   request is lost if its connection is closed while the client sends it.
//!
//! # Features
//!
//! `tokio`: `IntoTokio`, which converts the sockets to tokio's types, and `Stop::stopped`, a future.
//!
//! # Modules
//!
//! `environment` and `listen_fds` parse the variables. `socket` gives each descriptor its type;
//! `seqpacket` is the type that std lacks. `listeners` finds a socket. `error` has the errors.
//! [`notify`] sends notifications to the supervisor, `stop` handles its signals, `with_tokio` adapts
//! both to tokio. `sys` has all unsafe code: ownership of descriptors, and signal handlers.

mod environment;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod kind;
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
pub use kind::Kind;
use listen_fds::{Passed, Variables};
pub use listeners::{Listener, Listeners};
pub use seqpacket::UnixSeqpacketListener;
pub use socket::Socket;
pub use stop::{Signal, Stop};
#[cfg(feature = "tokio")]
pub use with_tokio::IntoTokio;

/// Takes the sockets passed to this process. These are the sockets in `SERVER_STARTER_PORT`: all
/// ports in the order of `start_server`'s command line, then all paths. If that variable is not set,
/// they are the descriptors of `LISTEN_FDS`, from 3 up.
///
/// If both are set, `SERVER_STARTER_PORT` gives the sockets and their keys, and `LISTEN_FDNAMES`
/// adds the names, descriptor by descriptor. The result is empty if the variable is empty: the
/// server was started without sockets. `LISTEN_FDS` is used only if it is for this process:
/// `LISTEN_PID` must be its pid. `LISTEN_PIDFDID`, if set, must be the inode number of its pidfd; this
/// is checked from Linux 6.9 on.
///
/// Every descriptor becomes close-on-exec: children of this process do not inherit it. Nothing else
/// about the socket changes.
///
/// Call this function once, first in `main`, before the program opens anything: the variables give
/// the descriptors by number, and this function takes ownership of whatever has that number. As a
/// safeguard, a descriptor that is close-on-exec already is refused: it was not inherited through
/// `execve(2)`. std opens every descriptor close-on-exec.
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
///     Err(error) if error.is_not_started() => println!("no sockets were passed"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`Error::NotStarted`]: neither variable is set, or `LISTEN_FDS` is for another process.
/// - [`Error::AlreadyTaken`]: an earlier call in this process has taken the sockets, or has failed
///   while taking them. A descriptor has one owner.
/// - [`Error::Entry`], [`Error::Descriptor`]: an entry is malformed, or its descriptor is not allowed.
///   `SERVER_STARTER_PORT` may list listening and datagram sockets; a descriptor that `LISTEN_FDS`
///   passes may be anything that is open. No socket is returned then: those before the entry are
///   closed, in this process alone.
/// - [`Error::Variable`]: `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_PIDFDID` or `LISTEN_FDNAMES` is
///   malformed.
pub fn listeners() -> Result<Listeners, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let entries = env::var_os("SERVER_STARTER_PORT");
    let (passed, listen_pid) = match Variables::from_environment().passed()? {
        Passed::ToUs(passed) => (Some(passed), None),
        Passed::ToOther(pid) => (None, Some(pid)),
        Passed::Nothing => (None, None),
    };
    if entries.is_none() && passed.is_none() {
        return Err(Error::NotStarted { listen_pid });
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::AlreadyTaken);
    }
    match (entries, passed) {
        (Some(entries), passed) => Listeners::from_server_starter_port(&entries, passed.as_ref()),
        (None, Some(passed)) => Listeners::from_listen_fds(&passed),
        (None, None) => Err(Error::NotStarted { listen_pid }),
    }
}

/// Takes the sockets as [`listeners`] does. If no sockets were passed to this process, binds a TCP
/// listener to this address, so that the same program runs from a shell.
///
/// The address is any that `TcpListener::bind` takes: `"127.0.0.1:8080"`, `"localhost:8080"`,
/// `("::1", 8080)`. If it stands for several addresses, the first that can be bound is used. Under a
/// supervisor the address is not used and not checked: the supervisor decides where the server
/// listens. As in libsystemd, a `LISTEN_FDS` for another process counts as not set: the shell may
/// have inherited one.
///
/// ```
/// let listener = server_starter_worker::listeners_or_bind("127.0.0.1:0")?.take_tcp()?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`listeners`] other than [`Error::NotStarted`], and [`Error::Bind`]. If `start_server`
/// runs the program without sockets, the result is empty and nothing is bound: the next generation
/// could not bind the same address.
pub fn listeners_or_bind(address: impl ToSocketAddrs + Debug) -> Result<Listeners, Error> {
    match listeners() {
        Err(error) if error.is_not_started() => Listeners::bind(address),
        other => other,
    }
}

/// The number of this generation, from `SERVER_STARTER_GENERATION`: 1 for the first, and greater for
/// each later one. An attempt that fails uses up its number.
///
/// `None` if the variable is not set, or is not a decimal number that fits 64 bits: this process was
/// not started by `start_server`.
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
