//! Sockets: free ports, and the sockets that a worker was given.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use crate::{Process, skipped};

/// A port of 127.0.0.1 that is free now; never the same one twice. Another program may take it before it is used, so a
/// start that finds it in use is tried again with another one.
pub fn free_port() -> u16 {
    static RETURNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let probe = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = probe.local_addr().unwrap().port();
        let mut returned = RETURNED.lock().unwrap_or_else(|e| e.into_inner());
        if returned.insert(port) {
            return port;
        }
    }
}

/// Whether `::1` can be bound here. If not, the test is reported as skipped.
pub fn have_ipv6() -> bool {
    let have = TcpListener::bind(("::1", 0)).is_ok();
    if !have {
        skipped("no IPv6 loopback address here");
    }
    have
}

/// The sockets that a worker was given: key, descriptor and address, in the order of `SERVER_STARTER_PORT`. An address
/// is `tcp 127.0.0.1:8080`, `udp [::1]:53`, `unix /run/x.sock`, or the target in /proc if it is not a socket.
pub fn exports(worker: Process) -> Vec<(String, i32, String)> {
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

/// The address of the socket `socket:[INODE]`, from the kernel's tables of sockets.
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

/// Parses `0100007F:1F90`: the address in words of native byte order, and the port, in hexadecimal.
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
