//! What a worker tells.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use server_starter_worker::notify;

use crate::start::{PATIENCE, Worker, notify_socket, say, told};

const EVERYTHING: [&str; 6] = [
    "READY=1",
    "STATUS=50 %  READY=0 done",
    "EXTEND_TIMEOUT_USEC=1500000",
    "EXTEND_TIMEOUT_USEC=18446744073709551615",
    "WATCHDOG=1",
    "STOPPING=1",
];

#[test]
#[ignore = "a worker"]
fn tells_everything() {
    let answers = [
        notify::ready(),
        notify::status("50 %\r\nREADY=0\0done"),
        notify::extend_timeout(Duration::from_millis(1500)),
        notify::extend_timeout(Duration::MAX),
        notify::watchdog(),
        notify::stopping(),
    ];
    for answer in answers {
        match answer {
            Ok(told) => say(told),
            Err(error) => say(error),
        }
    }
}

fn tells() -> Worker {
    Worker::test("notify::tells_everything")
}

#[test]
fn one_datagram_each_to_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, path) = notify_socket(dir.path());
    assert_eq!(tells().env("NOTIFY_SOCKET", path).says(), ["true"; 6]);
    assert_eq!(EVERYTHING.map(|_| told(&socket)), EVERYTHING);
}

#[test]
fn one_datagram_each_to_an_abstract_socket() {
    let name = format!("worker-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let worker = tells().env("NOTIFY_SOCKET", format!("@{name}"));
    assert_eq!(worker.says(), ["true"; 6]);
    assert_eq!(EVERYTHING.map(|_| told(&socket)), EVERYTHING);
}

#[test]
fn nobody_to_tell() {
    assert_eq!(tells().says(), ["false"; 6]);
    assert_eq!(tells().env("NOTIFY_SOCKET", "").says(), ["false"; 6]);
}

#[test]
fn what_cannot_be_told_is_named() {
    let too_long = format!("/{}", "x".repeat(200));
    for socket in ["/nonexistent/notify", "relative", "vsock:2:1", &too_long] {
        let said = tells().env("NOTIFY_SOCKET", socket).says();
        let start = format!("NOTIFY_SOCKET={socket}: ");
        assert!(said.iter().all(|line| line.starts_with(&start)), "{said:?}");
    }
}

#[test]
#[ignore = "a worker"]
fn tells_its_interval() {
    say(format_args!("{:?}", notify::watchdog_interval().unwrap()));
}

#[test]
fn the_interval_of_the_watchdog() {
    let worker = || Worker::test("notify::tells_its_interval").env("WATCHDOG_USEC", "30000000");
    assert_eq!(worker().says(), ["Some(30s)"]);
    assert_eq!(worker().env("WATCHDOG_PID", "1").says(), ["None"]);
}
