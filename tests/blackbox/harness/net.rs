//! Sockets: a free port, what a worker's descriptors are bound to, and a small HTTP client.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::{BOUND, Process};

/// A port that was free a moment ago, never the same one twice. Another program may take it before it is used: whoever
/// uses it tries again with another then.
pub(crate) fn free_port() -> u16 {
    static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if HANDED_OUT
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .insert(port)
        {
            return port;
        }
    }
}

/// Whether `::1` can be bound here.
pub(crate) fn have_ipv6() -> bool {
    let have = TcpListener::bind(("::1", 0)).is_ok();
    if !have {
        super::skipped("no IPv6 loopback address here");
    }
    have
}

/// What a worker was given: `(key, descriptor, what the descriptor is bound to)`, in the order of `SERVER_STARTER_PORT`.
/// The last reads `tcp 127.0.0.1:8080`, `udp [::1]:53`, `unix /run/x.sock`, or what /proc says when it is no socket.
pub(crate) fn exports(worker: Process) -> Vec<(String, i32, String)> {
    let value = worker.variable("SERVER_STARTER_PORT").unwrap_or_default();
    let descriptors = worker.descriptors();
    let export = |entry: &str| {
        let (key, fd) = entry
            .split_once('=')
            .unwrap_or_else(|| panic!("no `=` in {value:?}"));
        let fd = fd
            .parse()
            .unwrap_or_else(|_| panic!("no number after `=` in {value:?}"));
        let target = descriptors
            .get(&fd)
            .cloned()
            .unwrap_or_else(|| "closed".to_owned());
        (key.to_owned(), fd, local_address(&target).unwrap_or(target))
    };
    value.split_terminator(';').map(export).collect()
}

/// Where the socket `socket:[INODE]` is bound, by the kernel's tables of sockets.
fn local_address(descriptor: &str) -> Option<String> {
    let inode = descriptor.strip_prefix("socket:[")?.strip_suffix(']')?;
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(9) == Some(&inode) {
                return Some(format!(
                    "{} {}",
                    protocol.trim_end_matches('6'),
                    address(fields[1])?
                ));
            }
        }
    }
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let line = table
        .lines()
        .find(|line| line.split_whitespace().nth(6) == Some(inode))?;
    Some(format!(
        "unix {}",
        line.split_whitespace().nth(7).unwrap_or("unbound")
    ))
}

/// `0100007F:1F90`: the address in words of the machine's order, the port in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(host.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    if host.len() == 8 {
        return Some((Ipv4Addr::from(word(0)?), port).into());
    }
    let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
    Some((Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?), port).into())
}

/// Somebody who asks the `hello` worker, by TCP or by unix socket.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Client {
    /// A client of this port of 127.0.0.1.
    pub(crate) fn of_port(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Asks for `path`; the answer's body.
    pub(crate) fn get(&self, path: &str) -> io::Result<String> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, BOUND)?;
                stream.set_read_timeout(Some(BOUND))?;
                stream.set_write_timeout(Some(BOUND))?;
                ask(stream, path)
            }
            Self::Unix(socket) => {
                let stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(Some(BOUND))?;
                stream.set_write_timeout(Some(BOUND))?;
                ask(stream, path)
            }
        }
    }

    /// Asks for `/`, which must succeed: which generation and which process answered.
    #[track_caller]
    pub(crate) fn hello(&self) -> (u32, Process) {
        let body = self
            .get("/")
            .unwrap_or_else(|e| panic!("no answer to {self:?}: {e}"));
        parse_hello(&body).unwrap_or_else(|| panic!("{self:?} was answered {body:?}"))
    }
}

/// `hello from generation N, pid P`.
fn parse_hello(body: &str) -> Option<(u32, Process)> {
    let (generation, pid) = body
        .trim_end()
        .strip_prefix("hello from generation ")?
        .split_once(", pid ")?;
    Some((generation.parse().ok()?, Process(pid.parse().ok()?)))
}

fn ask(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(io::Error::other(format!("answered {answer:?}")));
    }
    Ok(body.to_owned())
}

/// Whether a connection to this port is refused, or made within `patience`.
pub(crate) fn connects(port: u16, patience: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), patience)
}
