//! Socket activation: the first connection starts the service, and its workers get the sockets of the `.socket` unit.

use std::net::{Ipv4Addr, Ipv6Addr};

use server_starter_testing::eventually;

use crate::harness::{Machine, Service};

pub(crate) fn first_connection_starts_the_service(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "first", format!("--port=127.0.0.1:{port}"))
        .listen(&format!("ListenStream=127.0.0.1:{port}"));
    assert_eq!(service.property("ActiveState"), "inactive");
    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    service.wait_active();
}

pub(crate) fn tcp_udp_and_unix_sockets_of_one_unit_are_served(machine: &'static Machine) {
    let (tcp, udp) = (machine.port(), machine.port());
    // The socket that an option names comes first, under the key of the option. A port alone matches the dual-stack
    // socket that systemd opens for it.
    let service = Service::new(machine, "mixed", format!("--port={tcp}")).listen(&format!(
        "ListenDatagram={udp}\nListenStream=/run/mixed.sock\nListenStream={tcp}"
    ));
    for answer in [
        machine.get_from((Ipv4Addr::LOCALHOST, tcp)),
        machine.get_from((Ipv6Addr::LOCALHOST, tcp)),
        machine.get_from_unix("/run/mixed.sock"),
    ] {
        let answer = answer.unwrap();
        assert!(answer.starts_with("hello from generation 1"), "{answer}");
    }
    let worker = service.worker_pid();
    assert_eq!(
        machine.variable(worker, "SERVER_STARTER_PORT").unwrap(),
        format!("{tcp}=3;[::]:{udp}=4;/run/mixed.sock=5")
    );
    // The worker has closed the UDP socket, which it does not use; the supervisor has it on the same number.
    let supervisor = service.main_pid();
    assert!(
        is_udp(machine, supervisor, 4, udp),
        "descriptor 4 is not the socket of port {udp}"
    );
    assert!(!is_udp(machine, supervisor, 3, tcp));
    // systemd's variables for the supervisor are not passed on.
    let listen_pid = machine.variable(worker, "LISTEN_PID");
    assert!(listen_pid.is_none_or(|pid| pid == worker.to_string()));
}

/// systemd 257 can make the service process 1 of its own pid namespace; LISTEN_PID and WATCHDOG_PID name the pid
/// outside.
pub(crate) fn sockets_and_watchdog_work_in_a_pid_namespace(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "apart", format!("--port=127.0.0.1:{port}"))
        .line("PrivatePIDs=yes")
        .line("WatchdogSec=2")
        .store(8)
        .listen(&format!("ListenStream=127.0.0.1:{port}"));
    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    let journal = service.journal();
    assert!(!journal.contains("LISTEN_FDS is ignored"), "{journal}");
    service.systemctl("reload");
    let pinged = || service.property("WatchdogTimestampMonotonic");
    let first = pinged();
    eventually("the watchdog is pinged", || pinged() != first);
    assert_eq!(service.property("Result"), "success");
}

/// Whether a descriptor of a process is the UDP socket of this port, according to the kernel's table.
fn is_udp(machine: &Machine, pid: u32, fd: u32, port: u16) -> bool {
    let link = std::fs::read_link(machine.path(&format!("/proc/{pid}/fd/{fd}"))).unwrap();
    let link = link.to_string_lossy().into_owned();
    let inode = link.trim_start_matches("socket:[").trim_end_matches(']');
    let table = machine.read(&format!("/proc/{pid}/net/udp6"));
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[9] == inode
    })
}

pub(crate) fn sockets_are_chosen_by_name(machine: &'static Machine) {
    let (one, other) = (machine.port(), machine.port());
    let mut service = Service::new(
        machine,
        "named",
        format!("--port=127.0.0.1:{other} --port=fd:front"),
    )
    .listen(&format!(
        "ListenStream=127.0.0.1:{one}\nFileDescriptorName=front"
    ));
    machine.get(one).unwrap();
    machine.get(other).unwrap();
    assert_eq!(
        machine
            .variable(service.worker_pid(), "SERVER_STARTER_PORT")
            .unwrap(),
        format!("127.0.0.1:{other}=3;127.0.0.1:{one}=4")
    );
    assert!(service.journal().contains("using inherited socket front"));

    // With an unknown name the start fails, and the error lists the known ones.
    service.options("--port=fd:back");
    assert!(!service.systemctl("restart").success());
    let journal = service.journal();
    let complaint =
        "--port=fd:back: no inherited socket has that name (left to choose from: front)";
    assert!(journal.contains(complaint), "{journal}");
}

pub(crate) fn socket_on_standard_input_is_served(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "stdin", "")
        .line("StandardInput=socket")
        .line("StandardOutput=journal")
        .listen(&format!("ListenStream=127.0.0.1:{port}"));
    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    service.wait_active(); // systemd does nothing for a reload before the service is active
    service.systemctl("reload").ok();
    let answer = machine.get(port).unwrap();
    assert!(answer.contains("generation"), "{answer}");
    assert_eq!(service.generation(), 2);
    let ports = machine.variable(service.worker_pid(), "SERVER_STARTER_PORT");
    assert_eq!(ports.unwrap(), format!("127.0.0.1:{port}=3"));
}
