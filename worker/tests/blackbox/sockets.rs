//! Every kind of socket, from either variable, and how the worker finds it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use server_starter_worker::{Error, Kind, generation, listeners, listeners_or_bind};

use crate::start::{Worker, report};

const LOCALHOST: &str = "127.0.0.1:0";

fn plain_socket(family: AddressFamily, kind: SockType) -> OwnedFd {
    socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

fn seqpacket_listener(path: &std::path::Path) -> OwnedFd {
    let packets = plain_socket(AddressFamily::Unix, SockType::SeqPacket);
    bind(packets.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&packets, Backlog::new(1).unwrap()).unwrap();
    packets
}

#[test]
#[ignore = "a worker"]
fn worker_lists_its_sockets() {
    match listeners() {
        Err(error) => report(format_args!("error: {error}")),
        Ok(all) => {
            for it in &all {
                let flags = fcntl(&it.socket, FcntlArg::F_GETFD).unwrap();
                assert_eq!(flags, FdFlag::FD_CLOEXEC.bits(), "{it:?}");
                let status = fcntl(&it.socket, FcntlArg::F_GETFL).unwrap();
                let status = OFlag::from_bits_retain(status);
                assert!(!status.contains(OFlag::O_NONBLOCK), "{it:?}");
                let fd = it.socket.as_fd().as_raw_fd();
                let (key, name, kind) = (&it.key, &it.name, it.socket.kind());
                report(format_args!("{fd}: {key:?} {name:?} {kind}"));
            }
            assert!(matches!(listeners(), Err(Error::AlreadyTaken)));
        }
    }
}

fn listing_worker() -> Worker {
    Worker::test("sockets::worker_lists_its_sockets")
}

#[test]
fn listen_fds_passes_every_kind_of_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let tcp = TcpListener::bind(LOCALHOST).unwrap();
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind(LOCALHOST).unwrap();
    let unix = UnixListener::bind(path("s")).unwrap();
    let datagram = UnixDatagram::bind(path("d")).unwrap();
    let packets = seqpacket_listener(&path("p"));
    let (connection, _peer) = UnixStream::pair().unwrap();
    let netlink = plain_socket(AddressFamily::Netlink, SockType::Raw);
    let (fifo, _writer) = nix::unistd::pipe().unwrap();
    let reported = listing_worker()
        .at(3, &tcp)
        .at(4, &udp)
        .at(5, unix)
        .at(6, datagram)
        .at(7, packets)
        .at(8, connection)
        .at(9, netlink)
        .at(10, fifo)
        .at(11, &any)
        .at(12, File::open("/dev/null").unwrap())
        .listen_fds("10")
        .env("LISTEN_FDNAMES", "web:dns:s:d:p:connection:audit:fifo:any:")
        .reports();
    let (tcp, udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    let (any, dir) = (any.local_addr().unwrap().port(), dir.path().display());
    let expected = [
        format!(r#"3: "{tcp}" Some("web") TCP listener"#),
        format!(r#"4: "{udp}" Some("dns") UDP socket"#),
        format!(r#"5: "{dir}/s" Some("s") unix stream listener"#),
        format!(r#"6: "{dir}/d" Some("d") unix datagram socket"#),
        format!(r#"7: "{dir}/p" Some("p") unix seqpacket listener"#),
        r#"8: "connection" Some("connection") other descriptor"#.into(),
        r#"9: "audit" Some("audit") other descriptor"#.into(),
        r#"10: "fifo" Some("fifo") other descriptor"#.into(),
        format!(r#"11: "{any}" Some("any") TCP listener"#),
        r#"12: "12" None other descriptor"#.into(),
    ];
    assert_eq!(reported, expected);
}

#[test]
fn server_starter_port_passes_every_kind_of_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let reported = listing_worker()
        .at(0, TcpListener::bind(LOCALHOST).unwrap())
        .at(3, UdpSocket::bind(LOCALHOST).unwrap())
        .at(9, UnixListener::bind(path("s")).unwrap())
        .at(5, UnixDatagram::bind(path("d")).unwrap())
        .at(12, seqpacket_listener(&path("p")))
        .at(6, plain_socket(AddressFamily::Netlink, SockType::Raw))
        .env("SERVER_STARTER_PORT", "8080=0;8080=3;/s=9;/d=5;/p=12;n=6")
        .reports();
    let expected = [
        r#"0: "8080" None TCP listener"#,
        r#"3: "8080" None UDP socket"#,
        r#"9: "/s" None unix stream listener"#,
        r#"5: "/d" None unix datagram socket"#,
        r#"12: "/p" None unix seqpacket listener"#,
        r#"6: "n" None other descriptor"#,
    ];
    assert_eq!(reported, expected);
}

/// `SERVER_STARTER_PORT` gives keys and order. `LISTEN_FDS` gives names, and allows descriptors
/// other than sockets.
#[test]
fn server_starter_port_gives_keys_and_listen_fdnames_gives_names() {
    let reported = listing_worker()
        .at(3, TcpListener::bind(LOCALHOST).unwrap())
        .at(4, nix::unistd::pipe().unwrap().0)
        .at(5, TcpListener::bind(LOCALHOST).unwrap())
        .at(9, TcpListener::bind(LOCALHOST).unwrap())
        .env("SERVER_STARTER_PORT", "[::1]:80=5;fifo=4;x=9;8080=3")
        .listen_fds("3")
        .env("LISTEN_FDNAMES", "web:fifo:__1__80")
        .reports();
    let expected = [
        r#"5: "[::1]:80" Some("__1__80") TCP listener"#,
        r#"4: "fifo" Some("fifo") other descriptor"#,
        r#"9: "x" None TCP listener"#,
        r#"3: "8080" Some("web") TCP listener"#,
    ];
    assert_eq!(reported, expected);
}

#[test]
fn name_is_none_without_listen_fdnames() {
    let tcp = TcpListener::bind(LOCALHOST).unwrap();
    let reported = listing_worker().at(3, &tcp).listen_fds("1").reports();
    let address = tcp.local_addr().unwrap();
    assert_eq!(reported, [format!(r#"3: "{address}" None TCP listener"#)]);
}

#[test]
fn empty_list_of_sockets_is_no_error() {
    let none: [&str; 0] = [];
    let worker = listing_worker().env("SERVER_STARTER_PORT", "");
    assert_eq!(worker.reports(), none);
    assert_eq!(listing_worker().listen_fds("0").reports(), none);
}

#[test]
#[ignore = "a worker"]
fn worker_finds_its_sockets() {
    let mut all = listeners().unwrap();
    let port = all.get("web").unwrap().port().unwrap();
    assert!(all.take_name("absent").is_none());
    let admin = all.take_name("admin").unwrap();
    let second = all.take_name("admin").unwrap();
    report(admin.as_fd().as_raw_fd());
    report(second.as_fd().as_raw_fd());
    report(all.take_port(port).unwrap().as_fd().as_raw_fd());
    let packets = all.take_unix_seqpacket().unwrap();
    let mut connection = File::from(packets.accept().unwrap().0);
    connection.write_all(b"one").unwrap();
    connection.write_all(b"two").unwrap();
    let error = all.take_udp().unwrap_err();
    assert!(matches!(error, Error::Missing(Kind::Udp)), "{error}");
}

#[test]
fn sockets_are_found_by_name_port_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let listener = seqpacket_listener(&path);
    let client = plain_socket(AddressFamily::Unix, SockType::SeqPacket);
    connect(client.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    let reported = Worker::test("sockets::worker_finds_its_sockets")
        .at(3, TcpListener::bind(LOCALHOST).unwrap())
        .at(4, TcpListener::bind(LOCALHOST).unwrap())
        .at(5, listener)
        .at(6, UnixListener::bind(dir.path().join("s")).unwrap())
        .env("SERVER_STARTER_PORT", "web=3;b=4;/p=5;/s=6")
        .listen_fds("4")
        .env("LISTEN_FDNAMES", "web:admin:p:admin")
        .reports();
    assert_eq!(reported, ["4", "6", "3"]);
    let (mut client, mut packet) = (File::from(client), [0; 16]);
    assert_eq!(client.read(&mut packet).unwrap(), 3, "one packet at a time");
}

#[test]
#[ignore = "a worker"]
fn worker_greets_one_client() {
    let listener = listeners_or_bind("256.0.0.1:never-looked-at")
        .unwrap()
        .take_tcp()
        .unwrap();
    let (mut client, _) = listener.accept().unwrap();
    write!(client, "generation {:?}", generation()).unwrap();
}

/// The client connects before the worker is started.
#[test]
fn connection_queued_before_the_start_is_served() {
    let listener = TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    let worker = || Worker::test("sockets::worker_greets_one_client").at(3, &listener);
    let greeting = |worker: Worker| {
        let mut client = TcpStream::connect(address).unwrap();
        worker.reports();
        let mut greeting = String::new();
        client.read_to_string(&mut greeting).unwrap();
        greeting
    };
    let started = worker().env("SERVER_STARTER_PORT", "80=3");
    let numbered = started.env("SERVER_STARTER_GENERATION", "7");
    assert_eq!(greeting(numbered), "generation Some(7)");
    let activated = worker().listen_fds("1");
    let misnumbered = activated.env("SERVER_STARTER_GENERATION", "first");
    assert_eq!(greeting(misnumbered), "generation None");
}

#[test]
#[ignore = "a worker"]
fn worker_binds_its_own_socket() {
    let mut all = listeners_or_bind(LOCALHOST).unwrap();
    let key = all.iter().next().unwrap().key.clone();
    let listener = all.take_tcp().unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(key, address.to_string().as_str());
    assert_eq!(generation(), None);
    // This process holds this address already.
    report(listeners_or_bind(address).unwrap_err());
    report(listeners_or_bind("256.0.0.1:80").unwrap_err());
}

#[test]
fn server_without_inherited_sockets_binds_its_own() {
    // LISTEN_FDS for another process, for instance a shell.
    let worker = Worker::test("sockets::worker_binds_its_own_socket");
    let reported = worker
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .reports();
    assert!(
        reported[0].starts_with("cannot listen on 127.0.0.1:"),
        "{reported:?}"
    );
    assert!(reported[0].contains("in use"), "{reported:?}");
    assert!(
        reported[1].starts_with(r#"cannot listen on "256.0.0.1:80": "#),
        "{reported:?}"
    );
}
