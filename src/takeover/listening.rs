//! Which sockets listen at an address, by the kernel's tables, proc_pid_net(5): not every server keeps
//! the descriptor on the number that it was given it on.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::sockets::WantedAddress;

/// The inode numbers of the sockets that listen at this address (are bound to it, for UDP).
pub(super) fn inodes(wanted: &WantedAddress) -> Vec<u64> {
    let table = |name: &str| fs::read(format!("/proc/net/{name}")).unwrap_or_default();
    match wanted {
        WantedAddress::Ip { address, udp } => {
            let name = match (udp, address.is_ipv6()) {
                (false, false) => "tcp",
                (false, true) => "tcp6",
                (true, false) => "udp",
                (true, true) => "udp6",
            };
            of_address(&String::from_utf8_lossy(&table(name)), *address, *udp)
        }
        WantedAddress::Path(path) => of_path(&String::from_utf8_lossy(&table("unix")), path),
    }
}

pub(super) fn of_address(table: &str, wanted: SocketAddr, udp: bool) -> Vec<u64> {
    /// TCP_LISTEN, and TCP_CLOSE, which is what an unconnected UDP socket is in.
    const STATES: [&str; 2] = ["0A", "07"];
    let state = STATES[usize::from(udp)];
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at_address = address(fields.get(1)?)? == (wanted.ip(), wanted.port());
        let is_one = at_address && fields.get(3) == Some(&state);
        fields.get(9)?.parse().ok().filter(|_| is_one)
    };
    table.lines().skip(1).filter_map(listens).collect()
}

/// `0100007F:1F90`: the address in words of the machine's byte order, the port in hexadecimal.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let host = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?))
        }
        _ => return None,
    };
    Some((host, port))
}

/// The kernel has the path as it was given to bind(2).
pub(super) fn of_path(table: &str, wanted: &Path) -> Vec<u64> {
    /// `__SO_ACCEPTCON`: it listens.
    const LISTENS: u32 = 1 << 16;
    let absolute = std::path::absolute(wanted).ok();
    let listens = |line: &str| {
        let mut fields = line.split(' ').filter(|field| !field.is_empty());
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(2)?.parse().ok()?;
        // A path may have spaces in it.
        let path = Path::new(line.split_once(&format!(" {inode} "))?.1);
        let is_one = path == wanted || absolute.as_deref() == Some(path);
        (is_one && flags & LISTENS != 0).then_some(inode)
    };
    table.lines().skip(1).filter_map(listens).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::metadata;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn inode(socket: &impl AsFd) -> u64 {
        metadata(socket).unwrap().ino()
    }

    #[test]
    fn a_listener_is_found_by_its_address_and_a_connection_is_not() {
        let ip = |address, udp| inodes(&WantedAddress::Ip { address, udp });
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue; // no IPv6 here
            };
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).unwrap();
            let _server = listener.accept().unwrap();
            assert_eq!(ip(address, false), [inode(&listener)]);
            assert!(ip(address, true).is_empty());
            let udp = UdpSocket::bind(host).unwrap();
            assert_eq!(ip(udp.local_addr().unwrap(), true), [inode(&udp)]);
        }
    }

    #[test]
    fn a_unix_listener_is_found_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let _server = listener.accept().unwrap();
        let wanted = WantedAddress::Path(path);
        assert_eq!(inodes(&wanted), [inode(&listener)]);
        let none = WantedAddress::Path("/nonexistent".into());
        assert!(inodes(&none).is_empty());
    }
}
