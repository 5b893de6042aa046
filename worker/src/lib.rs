//! For servers run by `start_server`: the listening sockets it hands over, as owned, checked
//! std types.
//!
//! `start_server` (Perl's Server::Starter and its rewrite in Rust) binds the sockets and starts
//! one *generation* of the server after another on them. Each is told by its environment where
//! its sockets are:
//!
//! - `SERVER_STARTER_PORT`: `KEY=FD`, joined by `;`. The key is the `--port` or `--path` as
//!   typed: `8080`, `127.0.0.1:8080`, `[::1]:8080`, `/run/app.sock`. Read by [`listeners`].
//! - `SERVER_STARTER_GENERATION`: 1 for the first generation, one more for every attempt.
//!   Read by [`generation`].
//!
//! ```
//! use server_starter_worker::{Error, listeners};
//! use std::net::TcpListener;
//!
//! // The common case, one TCP port, is one line; here with a port of our own for the times
//! // when the program is started from a shell.
//! let listener = match listeners().and_then(|mut all| all.take_tcp()) {
//!     Err(Error::NotStarted) => TcpListener::bind("127.0.0.1:0")?,
//!     other => other?,
//! };
//! println!("listening on {}", listener.local_addr()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is shared
//!
//! The supervisor and all generations hold the same open file description (`open(2)`) of each
//! socket. So a connection that one generation leaves in the queue is taken by the next; and so
//! whatever is set on the socket is set for all: socket options, and `O_NONBLOCK`.
//! `start_server` hands sockets over blocking, and this crate leaves them as they are.
//!
//! Two consequences for a server that wants to lose no connection:
//! - Never call `shutdown(2)` on a listener: it stops listening for every generation.
//! - `poll` and then `accept` can block in `accept`, when another generation was faster.
//!
//! # What lives where
//!
//! `environment` reads the two variables, `sys` takes over the descriptors (the only unsafe code),
//! `socket` gives each its type, `listeners` finds the one you want, `error` says what was wrong.

mod environment;
mod error;
mod listeners;
mod socket;
mod sys;

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};

pub use error::{EntryError, Error};
pub use listeners::{Listener, Listeners};
pub use socket::Socket;

/// Takes the sockets `start_server` handed to this process, in the order of
/// `SERVER_STARTER_PORT`: all ports as given on its command line, then all paths.
///
/// The result is empty when the variable is empty: the server was started without sockets.
/// Every descriptor is close-on-exec from here on: the children of this process do not get it.
/// Nothing else about the socket changes.
///
/// Call it once, and first in `main`, before the program opens anything: the descriptors are
/// given by number, and this function makes itself their owner. As a guard, a descriptor that is
/// already close-on-exec is refused, since it cannot have come through `execve(2)`: std makes
/// every descriptor it opens so.
///
/// # Errors
///
/// - [`Error::NotStarted`]: `SERVER_STARTER_PORT` is not set.
/// - [`Error::AlreadyTaken`]: not the first call in this process. A descriptor has one owner;
///   this holds even when the first call failed.
/// - [`Error::Entry`]: an entry is malformed, or its descriptor is not a socket handed over by
///   `start_server`. No socket is taken then: those of the entries before it are closed.
pub fn listeners() -> Result<Listeners, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let value = env::var_os("SERVER_STARTER_PORT").ok_or(Error::NotStarted)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::AlreadyTaken);
    }
    Listeners::take_over(&value)
}

/// The number of this generation, from `SERVER_STARTER_GENERATION`: 1 for the first, and greater
/// for every later one. Numbers are left out when a generation fails to start.
///
/// `None` when the variable is not set or not a decimal number: this process was not started by
/// `start_server`.
#[must_use]
pub fn generation() -> Option<u64> {
    environment::decimal(env::var_os("SERVER_STARTER_GENERATION")?.as_encoded_bytes())
}

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
