//! All kinds of sockets that a `.socket` unit can open reach the workers, each under a key that identifies it.

use std::collections::BTreeMap;

use crate::harness::{Machine, Service};

/// `SERVER_STARTER_PORT` of the worker.
fn exported(service: &Service) -> BTreeMap<String, u32> {
    let worker = service.worker_pid();
    let value = service
        .machine
        .variable(worker, "SERVER_STARTER_PORT")
        .unwrap();
    let pair = |entry: &str| {
        let (key, fd) = entry.rsplit_once('=').unwrap();
        (key.to_owned(), fd.parse().unwrap())
    };
    value.split(';').map(pair).collect()
}

/// The target of a descriptor of the worker: a path, or `socket:[INODE]`.
fn opened(service: &Service, fd: u32) -> String {
    let link = format!("/proc/{}/fd/{fd}", service.worker_pid());
    let link = std::fs::read_link(service.machine.path(&link)).unwrap();
    link.to_string_lossy().into_owned()
}

/// The line about the socket on a descriptor in a table of the kernel (`unix`, `netlink`), split into words.
fn in_table(service: &Service, table: &str, fd: u32) -> Vec<String> {
    let opened = opened(service, fd);
    let inode = opened.trim_start_matches("socket:[").trim_end_matches(']');
    let table = service
        .machine
        .read(&format!("/proc/{}/net/{table}", service.worker_pid()));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let mut lines = table.lines().map(words);
    lines
        .find(|words: &Vec<String>| words.iter().any(|word| word == inode))
        .unwrap_or_else(|| panic!("{opened} is not in\n{table}"))
}

pub(crate) fn every_kind_of_socket_reaches_the_worker(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "kinds", format!("--port=127.0.0.1:{port}"));
    service.set_worker("exec sleep infinity"); // hello takes TCP and unix streams only
    let service = service.listen(&format!(
        "ListenFIFO=/run/kinds.fifo\n\
         ListenDatagram=/run/kinds.datagram\n\
         ListenSequentialPacket=/run/kinds.packets\n\
         ListenStream=@kinds.abstract\n\
         ListenNetlink=kobject-uevent 1\n\
         ListenStream=127.0.0.1:{port}"
    ));
    service.systemctl("start").ok();
    let exported = exported(&service);
    // A FIFO and a netlink socket have no address. Their key is their name, which is that of the unit. Both have the
    // same, so the map has one of them.
    let mut keys: Vec<&str> = exported.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let port = format!("127.0.0.1:{port}");
    let mut wanted = [
        &*port,
        "/run/kinds.datagram",
        "/run/kinds.packets",
        "@kinds.abstract",
        "kinds.socket",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(
        exported[&port], 3,
        "the socket of the option is not the first"
    );

    // descriptors 3 to 8: each socket of the unit once
    let (mut fifos, mut netlinks) = (0, 0);
    for fd in 3..9 {
        match opened(&service, fd) {
            path if path == "/run/kinds.fifo" => fifos += 1,
            _ if exported["kinds.socket"] == fd => {
                in_table(&service, "netlink", fd);
                netlinks += 1;
            }
            socket => assert!(socket.starts_with("socket:["), "{socket}"),
        }
    }
    assert_eq!((fifos, netlinks), (1, 1));
    // protocol, flags, type, state, inode, path: see /proc/net/unix in proc(5)
    for (key, kind) in [
        ("@kinds.abstract", "0001"),
        ("/run/kinds.datagram", "0002"),
        ("/run/kinds.packets", "0005"),
    ] {
        let line = in_table(&service, "unix", exported[key]);
        assert_eq!((&*line[4], &*line[7]), (kind, key), "{line:?}");
    }
    // a second generation has the same sockets
    service.wait_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    assert_eq!(self::exported(&service), exported);
}

pub(crate) fn sockets_of_two_units_with_one_name_reach_the_worker(machine: &'static Machine) {
    let (one, other, third) = (machine.port(), machine.port(), machine.port());
    let socket = |port| format!("ListenStream=127.0.0.1:{port}\nFileDescriptorName=front");
    let unit = format!("[Socket]\nService=twins.service\n{}\n", socket(other));
    machine.write("/etc/systemd/system/twins-second.socket", unit, 0o644);
    let options = format!("--port=127.0.0.1:{third} --port=fd:front");
    let service = Service::new(machine, "twins", options)
        .line("Sockets=twins.socket twins-second.socket")
        .listen(&socket(one));
    machine.run("systemctl start twins-second.socket").ok();
    for port in [one, other, third] {
        let answer = machine.get(port).unwrap();
        assert!(answer.starts_with("hello from generation 1"), "{answer}");
    }
    // The order of the sockets of two units is not defined.
    let exported = exported(&service);
    assert_eq!(exported[&format!("127.0.0.1:{third}")], 3);
    let mut numbers = [one, other].map(|port| exported[&format!("127.0.0.1:{port}")]);
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 5]);
    assert_eq!(exported.len(), 3);
    service.systemctl("stop").ok();
    machine.run("systemctl stop twins-second.socket").ok();
}
