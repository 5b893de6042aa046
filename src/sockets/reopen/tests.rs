//! Sockets that are shut down or lose their file are opened again.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::*;
use crate::sockets::socket::{Origin, State};
use crate::sockets::unix_path::UnixPath;

const BOUND: Origin = Origin::Bound { datagram: false };

fn watched(fd: OwnedFd, origin: Origin, file: Option<UnixPath>) -> (Sockets, Reopener) {
    let state = State {
        key: "key".into(),
        fd_name: OsString::new(),
        origin,
        stored: false,
    };
    let socket = Socket { fd, file, state };
    let sockets = Sockets { list: vec![socket] };
    let reopener = Reopener::new(&sockets, PathAccess::default(), 0, 0);
    (sockets, reopener)
}

fn bound(fd: impl Into<OwnedFd>) -> (Sockets, Reopener) {
    watched(fd.into(), BOUND, None)
}

fn outcomes(sockets: &mut Sockets, reopener: &mut Reopener) -> Vec<ReopenOutcome> {
    let shut_down = reopener.reopen(sockets);
    shut_down.into_iter().map(|s| s.outcome).collect()
}

fn is_readable(reopener: &Reopener) -> bool {
    let mut fds = [PollFd::new(
        reopener.fds().next().unwrap(),
        PollFlags::POLLIN,
    )];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn tcp_socket_listens_again_and_is_reported_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut sockets, mut reopener) = bound(listener.try_clone().unwrap());
    for _ in 0..2 {
        assert!(!is_readable(&reopener));
        shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
        assert!(is_readable(&reopener));
        assert_eq!(
            outcomes(&mut sockets, &mut reopener),
            [ReopenOutcome::ListensAgain]
        );
        assert!(outcomes(&mut sockets, &mut reopener).is_empty());
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    }
}

#[test]
fn connection_to_a_watched_socket_does_not_wake_the_supervisor() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (_sockets, reopener) = bound(listener);
    let _client = TcpStream::connect(address).unwrap();
    assert!(!is_readable(&reopener));
}

#[test]
fn unix_socket_is_replaced_at_its_path_and_on_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (fd, file) = unix_path::bind(&path, &PathAccess::default(), 0).unwrap();
    let number = fd.as_raw_fd();
    let (mut sockets, mut reopener) = watched(fd, BOUND, Some(file));
    for _ in 0..2 {
        // As if a worker had it open, too.
        let current = sockets.list[0].fd.try_clone().unwrap();
        shutdown(current.as_raw_fd(), Shutdown::Both).unwrap();
        assert_eq!(
            outcomes(&mut sockets, &mut reopener),
            [ReopenOutcome::Replaced]
        );
        assert_eq!(sockets.list[0].fd.as_raw_fd(), number);
        let _client = UnixStream::connect(&path).unwrap();
        assert!(outcomes(&mut sockets, &mut reopener).is_empty());
    }
    drop(sockets);
    assert!(!path.exists(), "the file of the replacement is removed too");
}

#[test]
fn unix_socket_that_was_shut_down_for_reading_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (fd, file) = unix_path::bind(&path, &PathAccess::default(), 0).unwrap();
    let held = fd.try_clone().unwrap();
    let origin = Origin::Bound { datagram: false };
    let (mut sockets, mut reopener) = watched(fd, origin, Some(file));
    shutdown(held.as_raw_fd(), Shutdown::Read).unwrap();
    assert_eq!(
        outcomes(&mut sockets, &mut reopener),
        [ReopenOutcome::Replaced]
    );
    UnixStream::connect(&path).unwrap();
}

#[test]
fn udp_socket_is_replaced_and_gets_the_next_datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (mut sockets, mut reopener) = bound(socket.try_clone().unwrap());
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both); // ENOTCONN, but it works
    assert_eq!(
        outcomes(&mut sockets, &mut reopener),
        [ReopenOutcome::Replaced]
    );
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", address).unwrap();
    let new = UdpSocket::from(sockets.list[0].fd.try_clone().unwrap());
    let timeout = std::time::Duration::from_secs(10);
    new.set_read_timeout(Some(timeout)).unwrap();
    assert_eq!(new.recv(&mut [0; 4]).unwrap(), 1);
}

#[test]
fn unix_socket_of_systemd_is_lost_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let (mut sockets, mut reopener) = watched(listener.into(), Origin::Inherited, None);
    shutdown(sockets.list[0].fd.as_raw_fd(), Shutdown::Both).unwrap();
    let outcomes = outcomes(&mut sockets, &mut reopener);
    assert!(
        matches!(&outcomes[..], [ReopenOutcome::Lost(why)] if why.contains(".socket unit")),
        "{outcomes:?}"
    );
}

#[test]
fn tcp_socket_of_systemd_listens_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut sockets, mut reopener) = watched(listener.into(), Origin::Inherited, None);
    shutdown(sockets.list[0].fd.as_raw_fd(), Shutdown::Both).unwrap();
    assert_eq!(
        outcomes(&mut sockets, &mut reopener),
        [ReopenOutcome::ListensAgain]
    );
}

#[test]
fn unix_socket_whose_file_was_removed_gets_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d/s");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let (fd, file) = unix_path::bind(&path, &PathAccess::default(), 0).unwrap();
    let (mut sockets, mut reopener) = watched(fd, BOUND, Some(file));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        outcomes(&mut sockets, &mut reopener),
        [ReopenOutcome::Replaced]
    );
    UnixStream::connect(&path).unwrap();
    // Without its directory the file cannot be created.
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let lost = outcomes(&mut sockets, &mut reopener);
    assert!(matches!(lost[..], [ReopenOutcome::Lost(_)]), "{lost:?}");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let again = reopener.retry(&mut sockets);
    assert_eq!(again[0].outcome, ReopenOutcome::Replaced);
    UnixStream::connect(&path).unwrap();
}
