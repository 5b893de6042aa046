use super::*;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

const LOCALHOST: &str = "127.0.0.1:0";

/// Leaves a descriptor open as a supervisor does for its worker: without an owner, and not
/// close-on-exec.
fn pass(fd: impl Into<OwnedFd>) -> RawFd {
    let fd = fd.into();
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    fd.into_raw_fd()
}

fn take(value: impl AsRef<OsStr>) -> Result<Listeners, Error> {
    Listeners::from_server_starter_port(value.as_ref(), None)
}

fn refused(value: impl AsRef<OsStr>) -> String {
    take(value).expect_err("an error").to_string()
}

#[test]
fn listeners_keep_the_order_of_the_variable() {
    let tcp = pass(TcpListener::bind(LOCALHOST).unwrap());
    let udp = pass(UdpSocket::bind(LOCALHOST).unwrap());
    let listeners = take(format!("b={udp};a={tcp}")).unwrap();

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
    let fd = pass(TcpListener::bind(LOCALHOST).unwrap());
    let listener = take(format!("8080={fd}")).unwrap().take_tcp().unwrap();

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
    let (tcp, udp) = (pass(tcp), pass(udp));
    let mut listeners = take(format!("{address}={tcp};{address}={udp}")).unwrap();

    let key = address.to_string();
    assert!(matches!(listeners.get(&key), Some(Socket::Tcp(_))));
    assert!(listeners.get("8080").is_none());
    assert!(matches!(listeners.take(&key), Some(Socket::Tcp(_))));
    assert!(matches!(listeners.take(&key), Some(Socket::Udp(_))));
    assert!(listeners.take(&key).is_none());

    let other = pass(TcpListener::bind(LOCALHOST).unwrap());
    let mut listeners = take(format!("key={other}")).unwrap();
    let port = listeners.get("key").and_then(Socket::port).unwrap();
    assert!(listeners.take_port(1).is_none());
    let found = listeners.take_port(port).unwrap();
    assert_eq!(found.as_fd().as_raw_fd(), other);
    assert!(listeners.is_empty());
}

#[test]
fn sockets_are_taken_by_kind_in_order() {
    let udp = pass(UdpSocket::bind(LOCALHOST).unwrap());
    let first = pass(TcpListener::bind(LOCALHOST).unwrap());
    let second = pass(TcpListener::bind(LOCALHOST).unwrap());
    let value = format!("a={udp};b={first};c={second}");
    let mut listeners = take(value).unwrap();

    assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), first);
    assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), second);
    let error = listeners.take_tcp().unwrap_err();
    assert!(error.to_string().contains("no TCP listener"), "{error}");
    let error = listeners.take_unix().unwrap_err();
    assert!(error.to_string().contains("no unix stream"), "{error}");
    assert_eq!(listeners.len(), 1);
}

#[test]
fn descriptor_other_than_a_socket_is_refused_and_left_open() {
    let fd = pass(File::open("/dev/null").unwrap());
    let message = refused(format!("8080={fd}"));
    assert_eq!(
        message,
        format!(r#"SERVER_STARTER_PORT: entry "8080={fd}": the descriptor is not a socket"#)
    );
    assert!(std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists());
}

#[test]
fn socket_of_this_process_is_refused_and_left_open() {
    let ours = TcpListener::bind(LOCALHOST).unwrap();
    let message = refused(format!("8080={}", ours.as_raw_fd()));
    assert!(
        message.contains("opened by this process itself"),
        "{message}"
    );
    assert!(ours.local_addr().is_ok(), "still open");
}
