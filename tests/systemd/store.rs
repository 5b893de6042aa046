//! The fd store: sockets that `start_server` bound outlive it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use crate::harness::{Lab, Load, Outcome, Service, eventually};

fn stored(service: &Service) -> String {
    service.property("NFileDescriptorStore")
}

/// Two ports of its own and room for both.
fn service(lab: &'static Lab, name: &str) -> (Service, u16, u16) {
    let (one, other) = (lab.port(), lab.port());
    let options = format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}");
    let service = Service::new(lab, name, options)
        .store(4)
        .line("Restart=on-failure")
        .start();
    eventually("systemd has stored them", || {
        (stored(&service) == "2").then_some(())
    });
    (service, one, other)
}

pub(crate) fn restart_refuses_nobody(lab: &'static Lab) {
    let (service, port, _) = service(lab, "restarted");
    let load = Load::on(lab, port);
    load.goes_on(20);
    for _ in 0..3 {
        let supervisor = service.main_pid();
        service.systemctl("restart").ok();
        assert_ne!(service.main_pid(), supervisor);
        load.goes_on(20);
    }
    // The workers drained: whoever was accepted was answered, whoever was not waited in the queue.
    let outcome = load.end();
    let Outcome { refused, reset, .. } = outcome;
    assert_eq!((refused, reset), (0, 0), "{outcome:?}");
    assert!(outcome.other.is_empty(), "{outcome:?}");
    assert_eq!(stored(&service), "2", "none is stored twice");
}

pub(crate) fn a_killed_supervisor_refuses_nobody(lab: &'static Lab) {
    let (service, port, _) = service(lab, "killed");
    let load = Load::on(lab, port);
    load.goes_on(20);
    for _ in 0..3 {
        let supervisor = service.main_pid();
        lab.run(&format!("kill -KILL {supervisor}")).ok();
        service.comes_back(supervisor);
        load.goes_on(20);
    }
    // systemd kills the orphaned workers (KillMode=mixed): what they had accepted is reset, for
    // nobody could answer it any more. What they had not accepted waited for the next ones.
    let outcome = load.end();
    assert_eq!(outcome.refused, 0, "{outcome:?}");
    assert!(outcome.other.is_empty(), "{outcome:?}");
    assert!(
        outcome.reset <= 3 * 4,
        "4 clients, killed 3 times: {outcome:?}"
    );
    assert_eq!(stored(&service), "2", "none is stored twice");
}

pub(crate) fn what_is_not_wanted_any_more_is_closed(lab: &'static Lab) {
    let (mut service, one, other) = service(lab, "fewer");
    lab.get(other).unwrap();
    service.options(format!("--port=127.0.0.1:{one}"));
    service.systemctl("restart").ok();
    lab.get(one).unwrap();
    eventually("one is left in the store", || {
        (stored(&service) == "1").then_some(())
    });
    eventually("the other is closed", || {
        let answer = lab.get(other);
        (answer.err()?.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    let ports = lab.variable(service.worker_pid(), "SERVER_STARTER_PORT");
    assert_eq!(ports.unwrap(), format!("127.0.0.1:{one}=3"));
    // It is free for others, and for a later wish.
    service.options(format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}"));
    service.systemctl("restart").ok();
    lab.get(other).unwrap();
}

/// Its file stays, too, so that clients find the queue while nobody runs.
pub(crate) fn a_unix_socket_keeps_its_file(lab: &'static Lab) {
    const PATH: &str = "/run/kept.sock";
    let service = Service::new(lab, "kept", format!("--path={PATH}"))
        .store(1)
        .line("Restart=on-failure")
        .start();
    let inode = || std::fs::symlink_metadata(lab.path(PATH)).unwrap().ino();
    let before = inode();
    lab.get_from_unix(PATH).unwrap();
    service.systemctl("restart").ok();
    lab.get_from_unix(PATH).unwrap();
    let supervisor = service.main_pid();
    lab.run(&format!("kill -KILL {supervisor}")).ok();
    service.comes_back(supervisor);
    lab.get_from_unix(PATH).unwrap();
    assert_eq!(inode(), before);
    assert_eq!(stored(&service), "1");
}

pub(crate) fn too_small_a_store_is_a_warning(lab: &'static Lab) {
    let (one, other) = (lab.port(), lab.port());
    let options = format!("--port=127.0.0.1:{one} --port=127.0.0.1:{other}");
    let service = Service::new(lab, "small", options);
    // Since 254 systemd itself says how much it keeps.
    let service = match lab.version {
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
        lab.get(port).unwrap();
    }
    assert_eq!(stored(&service), "1");
}
