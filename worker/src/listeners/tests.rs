use super::*;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

const LOCALHOST: &str = "127.0.0.1:0";

/// Leaves a descriptor open as a supervisor does for its worker: without an owner, and not
/// close-on-exec.
fn hand_over(fd: impl Into<OwnedFd>) -> RawFd {
    let fd = fd.into();
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    fd.into_raw_fd()
}

fn take_over(value: impl AsRef<OsStr>) -> Result<Listeners, Error> {
    Listeners::take_over(value.as_ref(), None)
}

fn refused(value: impl AsRef<OsStr>) -> String {
    take_over(value).expect_err("an error").to_string()
}

#[test]
fn they_come_in_the_order_of_the_variable() {
    let tcp = hand_over(TcpListener::bind(LOCALHOST).unwrap());
    let udp = hand_over(UdpSocket::bind(LOCALHOST).unwrap());
    let listeners = take_over(format!("b={udp};a={tcp}")).unwrap();

    let names: Vec<_> = (&listeners)
        .into_iter()
        .map(|listener| &listener.key)
        .collect();
    assert_eq!(names, ["b", "a"]);
    assert!(matches!(
        listeners.iter().as_slice()[0].socket,
        Socket::Udp(_)
    ));
    let names: Vec<_> = listeners.into_iter().map(|listener| listener.key).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn descriptors_become_close_on_exec_and_stay_blocking() {
    let fd = hand_over(TcpListener::bind(LOCALHOST).unwrap());
    let listener = take_over(format!("8080={fd}")).unwrap().take_tcp().unwrap();

    assert_eq!(listener.as_raw_fd(), fd);
    let flags = fcntl(&listener, FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
    let status = fcntl(&listener, FcntlArg::F_GETFL).unwrap();
    assert!(!OFlag::from_bits_retain(status).contains(OFlag::O_NONBLOCK));
}

#[test]
fn sockets_are_found_by_key_and_by_port() {
    let tcp = TcpListener::bind(LOCALHOST).unwrap();
    let address = tcp.local_addr().unwrap();
    // One port, one key, two sockets.
    let udp = UdpSocket::bind(address).unwrap();
    let (tcp, udp) = (hand_over(tcp), hand_over(udp));
    let mut listeners = take_over(format!("{address}={tcp};{address}={udp}")).unwrap();

    let key = address.to_string();
    assert!(matches!(listeners.get(&key), Some(Socket::Tcp(_))));
    assert!(listeners.get("8080").is_none());
    assert!(matches!(listeners.take(&key), Some(Socket::Tcp(_))));
    assert!(matches!(listeners.take(&key), Some(Socket::Udp(_))));
    assert!(listeners.take(&key).is_none());

    let other = hand_over(TcpListener::bind(LOCALHOST).unwrap());
    let mut listeners = take_over(format!("key={other}")).unwrap();
    let port = listeners.get("key").and_then(Socket::port).unwrap();
    assert!(listeners.take_port(1).is_none());
    let found = listeners.take_port(port).unwrap();
    assert_eq!(found.as_fd().as_raw_fd(), other);
    assert!(listeners.is_empty());
}

#[test]
fn the_first_of_a_kind() {
    let udp = hand_over(UdpSocket::bind(LOCALHOST).unwrap());
    let first = hand_over(TcpListener::bind(LOCALHOST).unwrap());
    let second = hand_over(TcpListener::bind(LOCALHOST).unwrap());
    let value = format!("a={udp};b={first};c={second}");
    let mut listeners = take_over(value).unwrap();

    assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), first);
    assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), second);
    let error = listeners.take_tcp().unwrap_err();
    assert!(error.to_string().contains("no TCP listener"), "{error}");
    let error = listeners.take_unix().unwrap_err();
    assert!(error.to_string().contains("no unix stream"), "{error}");
    assert_eq!(listeners.len(), 1);
}

#[test]
fn what_is_no_socket_is_refused_and_left_open() {
    let fd = hand_over(File::open("/dev/null").unwrap());
    let message = refused(format!("8080={fd}"));
    assert_eq!(
        message,
        format!(r#"SERVER_STARTER_PORT: entry "8080={fd}": the descriptor is not a socket"#)
    );
    assert!(std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists());
}

#[test]
fn a_socket_of_our_own_is_refused() {
    let ours = TcpListener::bind(LOCALHOST).unwrap();
    let message = refused(format!("8080={}", ours.as_raw_fd()));
    assert!(
        message.contains("opened by this process itself"),
        "{message}"
    );
    assert!(ours.local_addr().is_ok(), "still ours, still open");
}
