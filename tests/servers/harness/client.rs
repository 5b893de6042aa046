//! An HTTP client that distinguishes kinds of failures.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use server_starter_testing::BOUND;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection was closed or reset before the first byte of a response.
    Unanswered(String),
    /// Refused, incomplete, wrong or too late.
    Broken(String),
}

/// A connection to a port of 127.0.0.1.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The number of its requests that were answered.
    pub(crate) used: usize,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self, Fault> {
        let broken = |e: io::Error| Fault::Broken(format!("connect: {e}"));
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let stream = TcpStream::connect_timeout(&address, BOUND).map_err(broken)?;
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(BOUND)).map_err(broken)?;
        }
        Ok(Self { stream, used: 0 })
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &str) -> Result<(), Fault> {
        let sent = self.stream.write_all(bytes.as_bytes());
        sent.map_err(|e| Fault::Unanswered(format!("write: {e}")))
    }

    /// Requests `path` and reads the response, which must be 200, with a pause after its head. Returns whether the
    /// connection can be used again.
    pub(crate) fn get(&mut self, path: &str, keep: bool, pause: Duration) -> Result<bool, Fault> {
        let connection = if keep { "keep-alive" } else { "close" };
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n"
        ))?;
        self.answer(pause)
    }

    /// Reads a response.
    pub(crate) fn answer(&mut self, pause: Duration) -> Result<bool, Fault> {
        let mut seen = Vec::new();
        let head_end = loop {
            if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.read_more(&mut seen)?;
        };
        let head = String::from_utf8_lossy(&seen[..head_end]).to_ascii_lowercase();
        if head.split_whitespace().nth(1) != Some("200") {
            return Err(Fault::Broken(format!("answered {head:?}")));
        }
        let header = |name| {
            let values = head.lines().filter_map(|line| line.strip_prefix(name));
            values.map(str::trim).next_back()
        };
        let length = header("content-length:").and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or_else(|| Fault::Broken(format!("no length: {head:?}")))?;
        let body = head_end + 4;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        while seen.len() < body + length {
            self.read_more(&mut seen)?;
        }
        if !seen[body..].starts_with(b"hello") || seen.len() > body + length {
            let start = String::from_utf8_lossy(&seen[..seen.len().min(body + 80)]).into_owned();
            return Err(Fault::Broken(format!("answered {start:?}")));
        }
        self.used += 1;
        Ok(header("connection:") != Some("close"))
    }

    fn read_more(&mut self, seen: &mut Vec<u8>) -> Result<(), Fault> {
        let mut buffer = [0; 65536];
        let why = match self.stream.read(&mut buffer) {
            Ok(0) => "closed".to_owned(),
            Ok(length) => {
                seen.extend_from_slice(&buffer[..length]);
                return Ok(());
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => {
                return Err(Fault::Broken(format!(
                    "no more within {BOUND:?}, after {} bytes",
                    seen.len()
                )));
            }
            Err(e) => e.to_string(),
        };
        Err(if seen.is_empty() {
            Fault::Unanswered(why)
        } else {
            Fault::Broken(format!("{why} after {} bytes", seen.len()))
        })
    }
}

/// What happens to a connection when its server drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It was still open after a second, and a request was answered then.
    Answered,
    /// It was closed without a response.
    Closed,
}

impl Connection {
    /// Waits a second for the server to close the connection; if it does not, sends `rest` of a request.
    #[track_caller]
    pub(crate) fn fate(mut self, rest: &str) -> Fate {
        let second = Some(Duration::from_secs(1));
        self.stream.set_read_timeout(second).unwrap();
        match self.stream.read(&mut [0]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Fate::Closed,
            Ok(_) => panic!("a response without a request"),
        }
        self.stream.set_read_timeout(Some(BOUND)).unwrap();
        match self.send(rest).and_then(|()| self.answer(Duration::ZERO)) {
            Ok(_) => Fate::Answered,
            Err(Fault::Unanswered(_)) => Fate::Closed,
            Err(Fault::Broken(why)) => panic!("{why}"),
        }
    }
}
