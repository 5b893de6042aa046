//! TCP and UDP sockets from port specs.

use std::ffi::OsStr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};

use super::port_spec::{AddressSpec, Host};
use crate::error::Error;
use crate::sys;

/// Binds a spec to its address, and listens if it is TCP. Returns the port as well, which the kernel chooses
/// for port 0.
pub(super) fn port(
    spec: &AddressSpec,
    address: SocketAddr,
    backlog: u32,
) -> Result<(OwnedFd, u16), Error> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let kind = match spec.udp {
        true => SockType::Datagram,
        false => SockType::Stream,
    };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
        .map_err(Error::socket("create a socket for", spec))?;
    if !spec.udp {
        // With UDP two supervisors could share a port unnoticed.
        setsockopt(&fd, sockopt::ReuseAddr, &true)
            .map_err(Error::socket("set SO_REUSEADDR for", spec))?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)
            .map_err(Error::socket("set IPV6_V6ONLY for", spec))?;
    }
    let bound = match address {
        SocketAddr::V4(address) => bind(fd.as_raw_fd(), &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind(fd.as_raw_fd(), &SockaddrIn6::from(address)),
    };
    bound.map_err(Error::socket("bind to", spec))?;
    if !spec.udp {
        sys::fd::listen(&fd, backlog).map_err(Error::socket("listen on", spec))?;
    }
    let real = match spec.port {
        0 => real_port(&fd).map_err(Error::socket("read the address of", spec))?,
        port => port,
    };
    Ok((fd, real))
}

/// A new UDP socket with the address of `old`, which stays open elsewhere. New datagrams go to the new one:
/// of several sockets with one address, the kernel takes the youngest.
pub(super) fn again(old: &OwnedFd) -> std::io::Result<OwnedFd> {
    let address: SockaddrStorage = getsockname(old.as_raw_fd())?;
    let family = match address.as_sockaddr_in6() {
        Some(_) => AddressFamily::Inet6,
        None => AddressFamily::Inet,
    };
    let new = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    if family == AddressFamily::Inet6 {
        setsockopt(
            &new,
            sockopt::Ipv6V6Only,
            &getsockopt(old, sockopt::Ipv6V6Only)?,
        )?;
    }
    // Two sockets share an address only if both allow it, and only for the time of the call.
    for fd in [old, &new] {
        setsockopt(fd, sockopt::ReuseAddr, &true)?;
    }
    bind(new.as_raw_fd(), &address)?;
    for fd in [old, &new] {
        setsockopt(fd, sockopt::ReuseAddr, &false)?;
    }
    Ok(new)
}

/// Sets the backlog of a socket that was taken over, and makes this process the listening one, SO_PEERCRED of
/// unix(7).
pub(super) fn listen_again(fd: &OwnedFd, key: &OsStr, backlog: u32) -> Result<(), Error> {
    sys::fd::listen(fd, backlog).map_err(Error::socket("listen on", key.to_string_lossy()))
}

/// The address to bind to.
pub(super) fn resolve(spec: &AddressSpec) -> Result<SocketAddr, Error> {
    let host = match &spec.host {
        Host::AnyV4 => return Ok(SocketAddr::from(([0, 0, 0, 0], spec.port))),
        Host::V4(host) | Host::V6(host) => host,
    };
    let v6 = matches!(spec.host, Host::V6(_));
    let error = |source| Error::Resolve {
        host: host.clone(),
        source,
    };
    let mut found = (host.as_str(), spec.port)
        .to_socket_addrs()
        .map_err(error)?;
    found
        .find(|address| address.is_ipv6() == v6)
        .ok_or_else(|| {
            let hint = "no IPv4 address (IPv6 is written as [ADDRESS]:PORT)";
            error(std::io::Error::other(hint))
        })
}

fn real_port(fd: &OwnedFd) -> nix::Result<u16> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = name.as_sockaddr_in().map(|a| a.port());
    Ok(v4
        .or_else(|| name.as_sockaddr_in6().map(|a| a.port()))
        .unwrap_or(0))
}
