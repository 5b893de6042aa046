//! Whatever a `.socket` unit can open reaches workers under a name they can tell it by.

use std::collections::BTreeMap;

use crate::harness::{Machine, Service};

/// `SERVER_STARTER_PORT` of the worker.
fn told(service: &Service) -> BTreeMap<String, u32> {
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

/// What the worker has on a descriptor: a path, or `socket:[INODE]`.
fn opened(service: &Service, fd: u32) -> String {
    let link = format!("/proc/{}/fd/{fd}", service.worker_pid());
    let link = std::fs::read_link(service.machine.path(&link)).unwrap();
    link.to_string_lossy().into_owned()
}

/// The lines of a table of the kernel's (`unix`, `netlink`) about the socket on a descriptor, as
/// words.
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

pub(crate) fn every_kind_of_socket(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "kinds", format!("--port=127.0.0.1:{port}"));
    service.becomes("exec sleep infinity"); // hello takes TCP and unix streams only
    let service = service.listen(&format!(
        "ListenFIFO=/run/kinds.fifo\n\
         ListenDatagram=/run/kinds.datagram\n\
         ListenSequentialPacket=/run/kinds.packets\n\
         ListenStream=@kinds.abstract\n\
         ListenNetlink=kobject-uevent 1\n\
         ListenStream=127.0.0.1:{port}"
    ));
    service.systemctl("start").ok();
    let told = told(&service);
    // A FIFO and a netlink socket have no address: their name, here the unit's, stands for it. They
    // have it both, so the map has one of them.
    let mut keys: Vec<&str> = told.keys().map(String::as_str).collect();
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
    assert_eq!(told[&port], 3, "the one with an option comes first");

    // Descriptors 3 to 8, each what systemd was asked for.
    let (mut fifos, mut netlinks) = (0, 0);
    for fd in 3..9 {
        match opened(&service, fd) {
            path if path == "/run/kinds.fifo" => fifos += 1,
            _ if told["kinds.socket"] == fd => {
                in_table(&service, "netlink", fd);
                netlinks += 1;
            }
            socket => assert!(socket.starts_with("socket:["), "{socket}"),
        }
    }
    assert_eq!((fifos, netlinks), (1, 1));
    // Protocol, flags, type, state, inode, path: unix(7) has a table of them.
    for (key, kind) in [
        ("@kinds.abstract", "0001"),
        ("/run/kinds.datagram", "0002"),
        ("/run/kinds.packets", "0005"),
    ] {
        let line = in_table(&service, "unix", told[key]);
        assert_eq!((&*line[4], &*line[7]), (kind, key), "{line:?}");
    }
    // A second generation has the same.
    service.is_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    assert_eq!(self::told(&service), told);
}

pub(crate) fn two_units_with_one_name(machine: &'static Machine) {
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
    // In which order systemd passes those of two units is not defined.
    let told = told(&service);
    assert_eq!(told[&format!("127.0.0.1:{third}")], 3);
    let mut numbers = [one, other].map(|port| told[&format!("127.0.0.1:{port}")]);
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 5]);
    assert_eq!(told.len(), 3);
    service.systemctl("stop").ok();
    machine.run("systemctl stop twins-second.socket").ok();
}
