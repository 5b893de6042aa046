//! Sockets in use: requests on each kind, backlogs, options and flags.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{
    BOUND, Client, Supervisor, connect_tcp, exports, have_ipv6, skipped, wait_for,
};

use crate::fixtures::{hello, start, start_hello, supervisor};

const O_NONBLOCK: i32 = 0o4000;
const O_CLOEXEC: i32 = 0o2_000_000;

#[test]
fn worker_answers_on_every_socket() {
    let s = start_hello(&["--port=127.0.0.1:PORT", "--port=PORT2", "--path=DIR/a.sock"]);
    let worker = s.wait_generation(1);
    for client in [
        s.client(),
        Client::of_port(s.port(1)),
        Client::Unix(s.path("a.sock")),
    ] {
        assert_eq!(client.hello(), (1, worker));
    }
    s.stop();
}

#[test]
fn worker_answers_on_ipv6() {
    if !have_ipv6() {
        return;
    }
    let s = supervisor(&["--port=[::1]:PORT"])
        .program(["--"])
        .program([hello()])
        .start();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, s.port(0)));
    assert_eq!(Client::Tcp(address).hello(), (1, s.wait_generation(1)));
    s.stop();
}

#[test]
fn worker_answers_on_descriptor_0() {
    let s = start_hello(&["--port=127.0.0.1:PORT=0"]);
    assert_eq!(s.client().hello(), (1, s.wait_generation(1)));
    s.stop();
}

#[test]
fn udp_worker_receives_datagrams() {
    let worker = "up; head -c 5 <&9 >\"$DIR/datagram\"; exec sleep 1000";
    let s = supervisor(&["--port=127.0.0.1:uPORT=9"]).sh(worker).start();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", ("127.0.0.1", s.port(0))).unwrap();
    s.eventually("the datagram has arrived", || s.read("datagram") == "hello");
    s.stop();
}

#[test]
fn connections_made_before_the_worker_is_up_are_answered() {
    let s = supervisor(&["--port=127.0.0.1:PORT"])
        .sh("up; read line <\"$DIR/gate\"; exec \"$@\"")
        .before("mkfifo \"$DIR/gate\"")
        .program([hello()])
        .start();
    let client = s.client();
    let early = std::thread::spawn(move || client.hello());
    s.open_gate("gate");
    assert_eq!(early.join().unwrap(), (1, s.wait_generation(1)));
    s.stop();
}

#[test]
fn ipv6_sockets_are_v6only() {
    if !have_ipv6() {
        return;
    }
    // both can be bound to the port only if the IPv6 socket does not serve IPv4
    let s = supervisor(&["--port=[::]:PORT", "--port=PORT"])
        .sh(SLEEPS)
        .start();
    let sockets: Vec<String> = exports(s.wait_generation(1))
        .into_iter()
        .map(|(_, _, socket)| socket)
        .collect();
    assert_eq!(
        sockets,
        [
            format!("tcp [::]:{}", s.port(0)),
            format!("tcp 0.0.0.0:{}", s.port(0))
        ]
    );
    s.stop();
}

#[test]
fn tcp_addresses_are_reused_at_once() {
    // the server closes first, so that its address stays in TIME_WAIT
    let s = start_hello(&["--port=127.0.0.1:PORT"]);
    s.client().hello();
    s.stop();
    let hello = hello();
    let hello = hello.to_str().unwrap();
    let again = s.spawn_command(&["--interval=0", "--port=127.0.0.1:PORT", "--", hello]);
    let answer = wait_for(|| s.client().get("/").ok());
    assert!(
        answer.is_some_and(|answer| answer.starts_with("hello from generation 1")),
        "{}",
        again.stderr()
    );
}

#[test]
fn sockets_are_blocking_and_stay_open_at_exec() {
    let specs = [
        "--port=127.0.0.1:PORT",
        "--port=127.0.0.1:uPORT2",
        "--path=DIR/a.sock",
        "--port=127.0.0.1:PORT3=11",
    ];
    let s = supervisor(&specs).sh(SLEEPS).start();
    let worker = s.wait_generation(1);
    let sockets = exports(worker);
    assert_eq!(sockets.len(), 4);
    for (key, fd, _) in sockets {
        let flags = worker.descriptor_flags(fd).unwrap();
        assert_eq!(flags & O_NONBLOCK, 0, "{key} is non-blocking");
        assert_eq!(flags & O_CLOEXEC, 0, "{key} is closed at the next exec");
    }
    s.stop();
}

#[test]
fn backlog_defaults_to_the_maximum_of_the_system() {
    let most: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let wanted = most.min(300);
    if wanted <= 129 {
        skipped("net.core.somaxconn is no larger than the usual 128");
        return;
    }
    for options in [
        &["--port=127.0.0.1:PORT", "--path=DIR/a.sock"][..],
        &["--backlog=0", "--port=127.0.0.1:PORT", "--path=DIR/a.sock"],
    ] {
        let s = start(options, SLEEPS);
        let tcp: Vec<_> = (0..wanted)
            .map(|_| connect_tcp(s.port(0), BOUND).unwrap())
            .collect();
        let unix: Vec<_> = (0..wanted)
            .map(|_| connect_at_once(&s, "a.sock").unwrap())
            .collect();
        assert_eq!((tcp.len(), unix.len()), (wanted, wanted));
        s.stop();
    }
}

#[test]
fn backlog_may_be_chosen() {
    let s = start(
        &["--backlog=3", "--port=127.0.0.1:PORT", "--path=DIR/a.sock"],
        SLEEPS,
    );
    // without accept(2), Linux queues one more than the backlog, then refuses (unix) or does not answer (TCP)
    let waiting: Vec<_> = (0..4)
        .map(|_| connect_at_once(&s, "a.sock").unwrap())
        .collect();
    assert_eq!(
        connect_at_once(&s, "a.sock").err(),
        Some(Errno::EAGAIN),
        "after {}",
        waiting.len()
    );
    let mut connected = Vec::new();
    while let Ok(stream) = connect_tcp(s.port(0), Duration::from_millis(300)) {
        connected.push(stream);
        assert!(
            connected.len() < 100,
            "a hundred connections fit a backlog of 3"
        );
    }
    s.stop();
}

/// Connects to a unix socket; fails if that would block.
fn connect_at_once(s: &Supervisor, name: &str) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let client = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect(client.as_raw_fd(), &UnixAddr::new(&s.path(name))?)?;
    Ok(client)
}
