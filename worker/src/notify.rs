//! What a worker tells the one who started it, `sd_notify(3)`: that it is ready, how it is doing,
//! that it is still alive.
//!
//! One datagram each, to the socket named by `NOTIFY_SOCKET`: a path, or `@abstract`. systemd
//! (`Type=notify`) listens there, and so does `start_server` for readiness. Every function answers
//!
//! - `Ok(true)`: it is told;
//! - `Ok(false)`: `NOTIFY_SOCKET` is not set, or empty. Nobody wants to know: the program was
//!   started from a shell, and all is well;
//! - an error that names the socket. The server can go on, but what waits for `READY=1` will not
//!   hear it: worth a line in the log.
//!
//! None of them blocks for longer than a second: that is how long a full queue is waited for.
//!
//! ```
//! use server_starter_worker::{listeners_or_bind, notify};
//!
//! let listener = listeners_or_bind("127.0.0.1:0")?.take_tcp()?;
//! // … read the configuration, fill the caches …
//! notify::ready()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use crate::environment::decimal;

/// How long to wait for room in the receiver's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// `READY=1`: the server is up and serves. Say it once everything that can fail has not: with
/// `start_server --ready=notify` and with `Type=notify` this is what the start is measured by, and
/// what the old generation is kept for.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::ready()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent: see the [module](self).
pub fn ready() -> io::Result<bool> {
    send("READY=1")
}

/// `STATUS=`: one line for people, shown by `systemctl status`. What would end the line, and any
/// other control character, becomes a space.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::status("reading the index: 40 %")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent: see the [module](self).
pub fn status(text: &str) -> io::Result<bool> {
    // A line more would be a field more: READY=1 in the name of a file, say.
    send(&format!("STATUS={}", text.replace(char::is_control, " ")))
}

/// `STOPPING=1`: the server has begun to drain.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::stopping()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent: see the [module](self).
pub fn stopping() -> io::Result<bool> {
    send("STOPPING=1")
}

/// `EXTEND_TIMEOUT_USEC=`: the start, or the stop, needs this much longer, counted from now. Say it
/// again before that time is over, as long as there is progress. Sent in microseconds; what is
/// finer is cut off.
///
/// ```
/// # use server_starter_worker::notify;
/// # use std::time::Duration;
/// notify::extend_timeout(Duration::from_secs(30))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent: see the [module](self).
pub fn extend_timeout(by: Duration) -> io::Result<bool> {
    let microseconds = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    send(&format!("EXTEND_TIMEOUT_USEC={microseconds}"))
}

/// `WATCHDOG=1`: the server is alive. Who does not say so for [`watchdog_interval`] is taken for
/// dead, and replaced.
///
/// ```no_run
/// # use server_starter_worker::notify;
/// # use std::thread;
/// if let Some(interval) = notify::watchdog_interval()? {
///     thread::spawn(move || {
///         loop {
///             // … see that the server really works …
///             let _ = notify::watchdog(); // nobody else to tell that it failed
///             thread::sleep(interval / 2);
///         }
///     });
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent: see the [module](self).
pub fn watchdog() -> io::Result<bool> {
    send("WATCHDOG=1")
}

/// How long this process may be silent, from `WATCHDOG_USEC`, as `sd_watchdog_enabled(3)` reads it:
/// say [`watchdog`] every half of it. `None`: nobody watches, or `WATCHDOG_PID` says that another
/// process is watched.
///
/// ```
/// # use server_starter_worker::notify;
/// if let Some(interval) = notify::watchdog_interval()? {
///     println!("a sign of life is due every {interval:?}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidData`: one of the variables is set, and not to a positive decimal number.
pub fn watchdog_interval() -> io::Result<Option<Duration>> {
    let (interval, pid) = (env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"));
    interval_of(interval.as_deref(), pid.as_deref())
}

fn interval_of(interval: Option<&OsStr>, pid: Option<&OsStr>) -> io::Result<Option<Duration>> {
    let Some(interval) = interval else {
        return Ok(None);
    };
    if let Some(pid) = pid {
        if positive("WATCHDOG_PID", pid)? != u64::from(process::id()) {
            return Ok(None);
        }
    }
    let microseconds = positive("WATCHDOG_USEC", interval)?;
    Ok(Some(Duration::from_micros(microseconds)))
}

fn positive(name: &str, value: &OsStr) -> io::Result<u64> {
    let number = decimal(value.as_bytes()).filter(|&number| number > 0);
    number.ok_or_else(|| {
        let value = value.to_string_lossy();
        let message = format!("{name}={}: not a positive number", value.escape_debug());
        io::Error::new(ErrorKind::InvalidData, message)
    })
}

fn send(message: &str) -> io::Result<bool> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send_to(&socket, message.as_bytes()).map(|()| true),
        _ => Ok(false),
    }
}

fn send_to(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let sent = address(socket.as_bytes()).and_then(|address| {
        let sender = UnixDatagram::unbound()?;
        sender.set_write_timeout(Some(PATIENCE))?;
        // Sent whole, or not at all.
        sender.send_to_addr(message, &address)
    });
    sent.map(|_| ()).map_err(|error| {
        let (kind, why) = match error.kind() {
            ErrorKind::WouldBlock => (ErrorKind::TimedOut, "nobody empties its queue".to_string()),
            kind => (kind, error.to_string()),
        };
        let socket = socket.to_string_lossy();
        io::Error::new(
            kind,
            format!("NOTIFY_SOCKET={}: {why}", socket.escape_debug()),
        )
    })
}

fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(socket)),
        _ => Err(io::Error::new(
            ErrorKind::Unsupported,
            "neither an absolute path nor @NAME",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(interval: &str, pid: Option<&str>) -> io::Result<Option<Duration>> {
        interval_of(Some(OsStr::new(interval)), pid.map(OsStr::new))
    }

    #[test]
    fn the_interval_is_ours() {
        let second = Some(Duration::from_secs(1));
        let us = process::id().to_string();
        assert_eq!(interval("1000000", None).unwrap(), second);
        assert_eq!(interval("1000000", Some(&us)).unwrap(), second);
        assert_eq!(interval("1000000", Some("1")).unwrap(), None);
        assert_eq!(interval_of(None, Some(OsStr::new(&us))).unwrap(), None);
    }

    #[test]
    fn a_wrong_interval_is_named() {
        for wrong in ["", "0", "-1", "1s", "18446744073709551616"] {
            let error = interval(wrong, None).unwrap_err();
            let expected = format!("WATCHDOG_USEC={wrong}: not a positive number");
            assert_eq!(error.to_string(), expected);
        }
        let error = interval("1", Some("me")).unwrap_err();
        assert!(error.to_string().starts_with("WATCHDOG_PID=me"), "{error}");
    }

    #[test]
    fn an_address_is_a_path_or_abstract() {
        assert!(address(b"/run/x").unwrap().as_pathname().is_some());
        assert_eq!(address(b"@x").unwrap().as_abstract_name(), Some(&b"x"[..]));
        for wrong in [&b"run/x"[..], b"vsock:2:1", &[b'/'; 200]] {
            address(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_full_queue_is_not_waited_for_without_end() {
        let name = format!("@worker-full-{}", process::id());
        let socket = address(name.as_bytes()).unwrap();
        let _nobody_reads = UnixDatagram::bind_addr(&socket).unwrap();
        let error = loop {
            if let Err(error) = send_to(OsStr::new(&name), b"WATCHDOG=1") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}
