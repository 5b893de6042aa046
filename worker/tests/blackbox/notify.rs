//! The notifications that a worker sends, sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use server_starter_worker::notify;

use crate::start::{BOUND, Worker, notify_socket, receive, report};

const NOTIFICATIONS: [&str; 6] = [
    "READY=1",
    "STATUS=50 %  READY=0 done",
    "EXTEND_TIMEOUT_USEC=1500000",
    "EXTEND_TIMEOUT_USEC=18446744073709551615",
    "WATCHDOG=1",
    "STOPPING=1",
];

#[test]
#[ignore = "a worker"]
fn worker_sends_every_notification() {
    let results = [
        notify::ready(),
        notify::status("50 %\r\nREADY=0\0done"),
        notify::extend_timeout(Duration::from_millis(1500)),
        notify::extend_timeout(Duration::MAX),
        notify::watchdog(),
        notify::stopping(),
    ];
    for result in results {
        match result {
            Ok(sent) => report(sent),
            Err(error) => report(error),
        }
    }
}

fn notifying_worker() -> Worker {
    Worker::test("notify::worker_sends_every_notification")
}

#[test]
fn notifications_are_sent_to_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, path) = notify_socket(dir.path());
    assert_eq!(
        notifying_worker().env("NOTIFY_SOCKET", path).reports(),
        ["true"; 6]
    );
    assert_eq!(NOTIFICATIONS.map(|_| receive(&socket)), NOTIFICATIONS);
}

#[test]
fn notifications_are_sent_to_an_abstract_socket() {
    let name = format!("worker-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let worker = notifying_worker().env("NOTIFY_SOCKET", format!("@{name}"));
    assert_eq!(worker.reports(), ["true"; 6]);
    assert_eq!(NOTIFICATIONS.map(|_| receive(&socket)), NOTIFICATIONS);
}

#[test]
fn notifications_are_skipped_without_notify_socket() {
    assert_eq!(notifying_worker().reports(), ["false"; 6]);
    assert_eq!(
        notifying_worker().env("NOTIFY_SOCKET", "").reports(),
        ["false"; 6]
    );
}

#[test]
fn unusable_notify_socket_is_named_in_the_error() {
    let too_long = format!("/{}", "x".repeat(200));
    for socket in ["/nonexistent/notify", "relative", "vsock:2:1", &too_long] {
        let reported = notifying_worker().env("NOTIFY_SOCKET", socket).reports();
        let start = format!("NOTIFY_SOCKET={socket}: ");
        assert!(
            reported.iter().all(|line| line.starts_with(&start)),
            "{reported:?}"
        );
    }
}

#[test]
#[ignore = "a worker"]
fn worker_reports_its_watchdog_interval() {
    report(format_args!("{:?}", notify::watchdog_interval().unwrap()));
}

#[test]
fn watchdog_interval_is_for_the_watched_process_only() {
    let worker = || {
        Worker::test("notify::worker_reports_its_watchdog_interval")
            .env("WATCHDOG_USEC", "30000000")
    };
    assert_eq!(worker().reports(), ["Some(30s)"]);
    assert_eq!(worker().env("WATCHDOG_PID", "1").reports(), ["None"]);
}
