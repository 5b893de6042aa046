//! Notifications to the supervisor, `sd_notify(3)`: the worker is ready, draining, alive.
//!
//! Each function sends one datagram to the socket in `NOTIFY_SOCKET`, a path or `@abstract`. systemd
//! (`Type=notify`) and `start_server` receive them. Each returns
//!
//! - `Ok(true)`: the notification was sent;
//! - `Ok(false)`: `NOTIFY_SOCKET` is not set, or empty, as in a program that was started from a
//!   shell. Nothing was sent, and this is no error;
//! - an error that names the socket. The server can go on serving. Log the error: a supervisor that
//!   waits for `READY=1` does not get it.
//!
//! If the receive queue of the supervisor is full, a function blocks for at most 1 second, and then
//! returns the error `TimedOut`.
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

/// The longest wait for room in the receiver's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends `READY=1`: the server has started and serves. Call it after every step that can fail. With
/// `start_server --ready=notify`, and with `Type=notify`, the start is complete at this moment, and
/// `start_server` then stops the old generation.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::ready()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent (`sendto(2)`): see the [module](self).
pub fn ready() -> io::Result<bool> {
    send("READY=1")
}

/// Sends `STATUS=`: one line for people, shown by `systemctl status`. Line ends and other control
/// characters are replaced by spaces.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::status("reading the index: 40 %")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent (`sendto(2)`): see the [module](self).
pub fn status(text: &str) -> io::Result<bool> {
    // A line end would begin another field: a file name in the text might contain "\nREADY=1".
    send(&format!("STATUS={}", text.replace(char::is_control, " ")))
}

/// Sends `STOPPING=1`: the server has begun to drain.
///
/// ```
/// # use server_starter_worker::notify;
/// notify::stopping()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent (`sendto(2)`): see the [module](self).
pub fn stopping() -> io::Result<bool> {
    send("STOPPING=1")
}

/// Sends `EXTEND_TIMEOUT_USEC=`: the start, or the stop, may take this long from now on. Call it again
/// before that time is over, as long as there is progress. The value is sent in whole microseconds,
/// rounded down; the largest value is `u64::MAX` microseconds.
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
/// The datagram cannot be sent (`sendto(2)`): see the [module](self).
pub fn extend_timeout(by: Duration) -> io::Result<bool> {
    let microseconds = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    send(&format!("EXTEND_TIMEOUT_USEC={microseconds}"))
}

/// Sends `WATCHDOG=1`: the server is alive. If it is not sent for [`watchdog_interval`], the
/// supervisor sends SIGABRT to the worker and replaces it (`start_server --worker-watchdog`, or
/// `WatchdogSec=` of systemd).
///
/// ```no_run
/// # use server_starter_worker::notify;
/// # use std::thread;
/// if let Some(interval) = notify::watchdog_interval()? {
///     thread::spawn(move || {
///         loop {
///             // … check that the server really works …
///             let _ = notify::watchdog(); // sent again at the next interval
///             thread::sleep(interval / 2);
///         }
///     });
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The datagram cannot be sent (`sendto(2)`): see the [module](self).
pub fn watchdog() -> io::Result<bool> {
    send("WATCHDOG=1")
}

/// The longest time between two calls of [`watchdog`], from `WATCHDOG_USEC` (in microseconds), as in
/// `sd_watchdog_enabled(3)`. Call [`watchdog`] twice in each interval. `None` if `WATCHDOG_USEC` is
/// not set, or `WATCHDOG_PID` is another process: no watchdog is enabled.
///
/// ```
/// # use server_starter_worker::notify;
/// if let Some(interval) = notify::watchdog_interval()? {
///     println!("WATCHDOG=1 is due every {interval:?}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidData` if one of the variables is not a positive decimal number that fits 64 bits.
pub fn watchdog_interval() -> io::Result<Option<Duration>> {
    let (interval, pid) = (env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"));
    parse_interval(interval.as_deref(), pid.as_deref())
}

fn parse_interval(interval: Option<&OsStr>, pid: Option<&OsStr>) -> io::Result<Option<Duration>> {
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
        sender.set_write_timeout(Some(SEND_TIMEOUT))?;
        // A datagram is sent whole, or not at all.
        sender.send_to_addr(message, &address)
    });
    sent.map(|_| ()).map_err(|error| {
        let (kind, why) = match error.kind() {
            ErrorKind::WouldBlock => (ErrorKind::TimedOut, "its receive queue is full".to_string()),
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
        parse_interval(Some(OsStr::new(interval)), pid.map(OsStr::new))
    }

    #[test]
    fn interval_is_none_for_another_process() {
        let second = Some(Duration::from_secs(1));
        let us = process::id().to_string();
        assert_eq!(interval("1000000", None).unwrap(), second);
        assert_eq!(interval("1000000", Some(&us)).unwrap(), second);
        assert_eq!(interval("1000000", Some("1")).unwrap(), None);
        assert_eq!(parse_interval(None, Some(OsStr::new(&us))).unwrap(), None);
    }

    #[test]
    fn malformed_interval_is_named_in_the_error() {
        for wrong in ["", "0", "-1", "1s", "18446744073709551616"] {
            let error = interval(wrong, None).unwrap_err();
            let expected = format!("WATCHDOG_USEC={wrong}: not a positive number");
            assert_eq!(error.to_string(), expected);
        }
        let error = interval("1", Some("me")).unwrap_err();
        assert!(error.to_string().starts_with("WATCHDOG_PID=me"), "{error}");
    }

    #[test]
    fn address_is_an_absolute_path_or_abstract() {
        assert!(address(b"/run/x").unwrap().as_pathname().is_some());
        assert_eq!(address(b"@x").unwrap().as_abstract_name(), Some(&b"x"[..]));
        for wrong in [&b"run/x"[..], b"vsock:2:1", &[b'/'; 200]] {
            address(wrong).unwrap_err();
        }
    }

    #[test]
    fn sending_to_a_full_queue_times_out() {
        let name = format!("@worker-full-{}", process::id());
        let socket = address(name.as_bytes()).unwrap();
        let _receiver = UnixDatagram::bind_addr(&socket).unwrap();
        let error = loop {
            if let Err(error) = send_to(OsStr::new(&name), b"WATCHDOG=1") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}
