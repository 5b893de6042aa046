//! The fd store: sockets that `start_server` has bound stay open after its end.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use server_starter_testing::{HttpLoad, expect};

use crate::harness::{Machine, Service};

fn stored(service: &Service) -> String {
    service.property("NFileDescriptorStore")
}

/// A service that binds two ports, with a store for both.
fn service(machine: &'static Machine, name: &str) -> (Service, u16, u16) {
    let (one, other) = (machine.port(), machine.port());
    let options = format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}");
    let service = Service::new(machine, name, options)
        .store(4)
        .line("Restart=on-failure")
        .start();
    expect("systemd has stored both sockets", || {
        (stored(&service) == "2").then_some(())
    });
    (service, one, other)
}

pub(crate) fn restart_refuses_no_connection(machine: &'static Machine) {
    let (service, port, _) = service(machine, "restarted");
    let load = machine.load(port);
    load.wait_answers(20);
    for _ in 0..3 {
        let supervisor = service.main_pid();
        service.systemctl("restart").ok();
        assert_ne!(service.main_pid(), supervisor);
        load.wait_answers(20);
    }
    // Accepted connections were answered by draining workers; the others waited in the queue.
    load.stop().expect_no_failure();
    assert_eq!(stored(&service), "2", "a socket is stored twice");
}

pub(crate) fn killed_supervisor_refuses_no_connection(machine: &'static Machine) {
    let (service, port, _) = service(machine, "killed");
    let load = machine.load(port);
    load.wait_answers(20);
    for _ in 0..3 {
        let supervisor = service.main_pid();
        machine.run(&format!("kill -KILL {supervisor}")).ok();
        service.wait_restarted(supervisor);
        load.wait_answers(20);
    }
    // systemd kills the orphaned workers (KillMode=mixed). Connections that they had accepted are reset; the others wait
    // for the next workers.
    let outcome = load.stop();
    assert_eq!(outcome.refused, 0, "{outcome:?}");
    assert!(outcome.other.is_empty(), "{outcome:?}");
    assert!(
        outcome.reset <= 3 * HttpLoad::CLIENTS,
        "one per client and kill: {outcome:?}"
    );
    assert_eq!(stored(&service), "2", "a socket is stored twice");
}

pub(crate) fn socket_of_a_removed_option_is_closed(machine: &'static Machine) {
    let (mut service, one, other) = service(machine, "fewer");
    machine.get(other).unwrap();
    service.options(format!("--port=127.0.0.1:{one}"));
    service.systemctl("restart").ok();
    machine.get(one).unwrap();
    expect("one socket is left in the store", || {
        (stored(&service) == "1").then_some(())
    });
    expect("the other socket is closed", || {
        let answer = machine.get(other);
        (answer.err()?.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    let ports = machine.variable(service.worker_pid(), "SERVER_STARTER_PORT");
    assert_eq!(ports.unwrap(), format!("127.0.0.1:{one}=3"));
    // The port is free, and can be bound again.
    service.options(format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}"));
    service.systemctl("restart").ok();
    machine.get(other).unwrap();
}

/// The file stays, too, so that clients can connect while no supervisor runs.
pub(crate) fn unix_socket_keeps_its_file(machine: &'static Machine) {
    const PATH: &str = "/run/kept.sock";
    let service = Service::new(machine, "kept", format!("--path={PATH}"))
        .store(1)
        .line("Restart=on-failure")
        .start();
    let inode = || std::fs::symlink_metadata(machine.path(PATH)).unwrap().ino();
    let before = inode();
    machine.get_from_unix(PATH).unwrap();
    service.systemctl("restart").ok();
    machine.get_from_unix(PATH).unwrap();
    let supervisor = service.main_pid();
    machine.run(&format!("kill -KILL {supervisor}")).ok();
    service.wait_restarted(supervisor);
    machine.get_from_unix(PATH).unwrap();
    assert_eq!(inode(), before);
    assert_eq!(stored(&service), "1");
}

pub(crate) fn too_small_store_is_a_warning(machine: &'static Machine) {
    let (one, other) = (machine.port(), machine.port());
    let options = format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}");
    let service = Service::new(machine, "small", options);
    // systemd sets FDSTORE itself since 254.
    let service = match machine.version {
        ..254 => service.store(1),
        _ => service.line("FileDescriptorStoreMax=1"),
    };
    let service = service.start();
    let journal = service.journal();
    assert!(
        journal.contains("the fd store has room for 1 of 2 sockets"),
        "{journal}"
    );
    service.systemctl("restart").ok();
    for port in [one, other] {
        machine.get(port).unwrap();
    }
    assert_eq!(stored(&service), "1");
}
