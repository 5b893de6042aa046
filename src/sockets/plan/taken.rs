//! Sockets of a supervisor that was killed. Its workers still hold them. They are used instead of new ones,
//! so that no connection in their queues is lost.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Plan;
use super::planned::{Planned, Source};
use crate::sockets::endpoint::Endpoint;
use crate::sockets::unix_path::UnixPath;
use crate::sys;

/// A socket that is still to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its key.
    pub(crate) key: OsString,
    /// Its descriptor number in workers.
    pub(crate) number: RawFd,
    pub(crate) address: WantedAddress,
}

/// The address that it will be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedAddress {
    Ip { address: SocketAddr, udp: bool },
    Path(PathBuf),
}

/// What was done with a socket that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is used.
    Taken,
    /// The plan has the same socket already.
    Known,
    /// An option asks for its address, but the file at that path is not its file.
    Unlinked,
    /// No option asks for it.
    NotOurs,
}

impl Plan {
    /// The sockets that are still to be bound, except those of port 0, which have no fixed address.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let numbers = self.numbers();
        let wanted = self.list.iter().zip(numbers);
        let wanted = wanted.filter_map(|(planned, number)| match &planned.source {
            Source::Bind(spec, address) if spec.port != 0 => Some(Wanted {
                key: spec.key(spec.port),
                number,
                address: WantedAddress::Ip {
                    address: *address,
                    udp: spec.udp,
                },
            }),
            Source::BindPath(spec) => Some(Wanted {
                key: spec.as_path().into(),
                number,
                address: WantedAddress::Path(spec.as_path().to_owned()),
            }),
            Source::Bind(..) | Source::Taken { .. } | Source::Inherited { .. } => None,
        });
        wanted.collect()
    }

    /// The inode numbers of the sockets that the plan has, inherited or taken.
    pub(crate) fn inodes(&self) -> Vec<u64> {
        let fds = self
            .list
            .iter()
            .filter_map(|planned| match &planned.source {
                Source::Inherited { socket, .. } => Some(&socket.fd),
                Source::Taken { fd, .. } => Some(fd),
                Source::Bind(..) | Source::BindPath(_) => None,
            });
        fds.filter_map(|fd| Some(sys::fd::metadata(fd).ok()?.ino()))
            .collect()
    }

    /// Uses a socket of another process, if it listens on an address that an option asks for.
    pub(crate) fn offer(&mut self, fd: OwnedFd) -> Offer {
        let Ok(inode) = sys::fd::metadata(&fd).map(|meta| meta.ino()) else {
            return Offer::NotOurs;
        };
        if self.inodes().contains(&inode) {
            return Offer::Known;
        }
        let Ok(endpoint) = Endpoint::of(&fd) else {
            return Offer::NotOurs;
        };
        let planned = self.list.iter_mut();
        let mut sources = planned.map(|planned| &mut planned.source);
        let taken = sources.find_map(|source| {
            let taken = taken_for(source, &endpoint, &fd)?;
            Some((source, taken))
        });
        let Some((source, (key, datagram, path))) = taken else {
            return self.refuse(&endpoint);
        };
        // Lower numbers are assigned to sockets.
        let Ok(fd) = sys::fd::move_above(fd, self.min_fd) else {
            return Offer::NotOurs;
        };
        *source = Source::Taken {
            fd,
            key,
            datagram,
            path,
        };
        Offer::Taken
    }

    /// Why a socket is not used.
    fn refuse(&self, endpoint: &Endpoint) -> Offer {
        let is_bound_to = |planned: &Planned| match &planned.source {
            Source::BindPath(spec) => endpoint.was_bound_to(spec.as_path()),
            _ => false,
        };
        match self.list.iter().any(is_bound_to) {
            true => Offer::Unlinked,
            false => Offer::NotOurs,
        }
    }
}

/// The key, whether it is a datagram socket, and the file, if the socket serves the address of `source`.
fn taken_for(
    source: &Source,
    endpoint: &Endpoint,
    fd: &OwnedFd,
) -> Option<(OsString, bool, Option<UnixPath>)> {
    match source {
        Source::Bind(spec, address) => {
            let serves = spec.port != 0 && endpoint.serves(*address, spec.udp);
            serves.then(|| (spec.key(spec.port), spec.udp, None))
        }
        Source::BindPath(spec) => {
            let path = spec.as_path();
            let file = endpoint.serves_path(path).then(|| file_of(path, fd))??;
            Some((OsStr::new(path).to_owned(), false, Some(file)))
        }
        Source::Taken { .. } | Source::Inherited { .. } => None,
    }
}

/// The file at `path`, if it is the one that the socket is bound to.
fn file_of(path: &Path, socket: &OwnedFd) -> Option<UnixPath> {
    let found = fs::symlink_metadata(path).ok()?;
    match sys::unix_diag::bound_file(socket) {
        Ok(bound) if bound == Some(found.ino() as u32) => Some(UnixPath::taken(path, &found)),
        Ok(_) => None,
        Err(e) => {
            let (path, why) = (path.display(), crate::error::DisplayIoError(&e));
            tracing::warn!("cannot find out which socket {path} belongs to: {why}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::{PathSpec, PortSpec};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn plan(ports: &[String], paths: &[&Path]) -> Plan {
        let ports: Vec<PortSpec> = ports.iter().map(|s| s.parse().unwrap()).collect();
        let paths: Vec<PathSpec> = paths
            .iter()
            .map(|path| PathSpec::new(path.as_os_str()).unwrap())
            .collect();
        Plan::make(&ports, &paths, vec![], |_| false).unwrap()
    }

    #[test]
    fn listening_socket_at_the_address_is_used_instead_of_a_new_one() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp_spec = tcp.local_addr().unwrap().to_string();
        let udp_spec = format!("127.0.0.1:u{}", udp.local_addr().unwrap().port());
        let mut plan = plan(&[tcp_spec, "0".to_owned(), udp_spec], &[]);
        assert_eq!(plan.wanted().len(), 2, "port 0 has no address yet");

        let copy = tcp.try_clone().unwrap();
        assert_eq!(plan.offer(tcp.into()), Offer::Taken);
        assert_eq!(plan.offer(copy.into()), Offer::Known);
        assert_eq!(plan.offer(udp.into()), Offer::Taken);
        assert_eq!(plan.wanted(), []);
        assert_eq!(plan.inodes().len(), 2);
    }

    #[test]
    fn other_descriptors_are_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut plan = plan(&[address.to_string()], &[]);
        for fd in [
            OwnedFd::from(other),
            client.into(),
            server.into(),
            UdpSocket::bind(address).unwrap().into(),
            tempfile::tempfile().unwrap().into(),
        ] {
            assert_eq!(plan.offer(fd), Offer::NotOurs);
        }
        assert_eq!(plan.wanted().len(), 1);
    }

    #[test]
    fn unix_socket_is_taken_only_if_the_file_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = UnixListener::bind(&path).unwrap();
        let again = first.try_clone().unwrap();
        if sys::unix_diag::bound_file(&again.into()).is_err() {
            return eprintln!("SKIPPED: no unix_diag here");
        }
        fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        let mut plan = plan(&[], &[&path]);
        assert_eq!(plan.offer(first.into()), Offer::Unlinked);
        assert_eq!(plan.offer(second.into()), Offer::Taken);

        drop(plan);
        assert!(
            path.exists(),
            "until the start is certain it is the workers'"
        );
    }
}
