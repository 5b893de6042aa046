//! A journal that does not read, or is stopped. Each test has a machine of its own.

use std::os::unix::net::UnixDatagram;

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

const JOURNALD: &str = "systemd-journald.service";
const SOCKETS: &str = "systemd-journald.socket systemd-journald-dev-log.socket";
const STARTED: &str = "MESSAGE_ID=4e91462d6a3a44ab90ab5e34ace4ef92";

/// Sends datagrams until the journal's queue is full, from many sockets, for each has room for some of its own.
fn fill_queue(machine: &Machine) {
    let path = machine.path("/run/systemd/journal/socket");
    let mut sockets = Vec::new();
    loop {
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&path).unwrap();
        let sent = (0..50).take_while(|_| socket.send(b"MESSAGE=filler\n").is_ok());
        if sent.count() == 0 {
            return;
        }
        sockets.push(socket);
    }
}

pub(crate) fn journal_that_does_not_read_blocks_nothing(machine: &'static Machine) {
    machine.install();
    let port = machine.port();
    let service = Service::new(
        machine,
        "held-up",
        format!("--port=127.0.0.1:{port} --interval=0"),
    )
    .start();
    let supervisor = service.main_pid();
    let journald = machine.property(JOURNALD, "MainPID");
    machine.run(&format!("kill -STOP {journald}")).ok();
    fill_queue(machine);

    // Standard error goes to the same journal. Its buffer is soon full: each reload writes six lines.
    for _ in 0..80 {
        let before = service.generation();
        machine.run(&format!("kill -HUP {supervisor}")).ok();
        expect("another generation is ready", || {
            (service.generation() > before).then_some(())
        });
    }
    service.systemctl("reload").ok();
    let answer = machine.get(port).unwrap();
    assert!(!answer.starts_with("hello from generation 1,"), "{answer}");
    assert_eq!(service.main_pid(), supervisor);

    // When the journal reads again, it gets the lines that were waiting...
    machine.run(&format!("kill -CONT {journald}")).ok();
    let lines = "journalctl --no-pager -u held-up -o cat _TRANSPORT=stdout";
    expect(
        "more lines are in the journal than fit into a buffer",
        || (machine.run(lines).stdout.lines().count() > 400).then_some(()),
    );
    // ... and entries with fields from now on.
    let worker = service.worker_pid();
    machine.run(&format!("kill -KILL {worker}")).ok();
    let entry = format!("journalctl --no-pager -u held-up SIGNAL=KILL WORKER_PID={worker} -o cat");
    expect("the journal has entries again", || {
        let found = machine.run(&entry).stdout;
        found.contains("died unexpectedly").then_some(())
    });
}

pub(crate) fn lines_go_to_standard_error_without_a_journal(machine: &'static Machine) {
    machine.install();
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --log-target=journal");
    let service = Service::new(machine, "alone", options)
        .line("StandardError=append:/run/alone.log")
        .start();
    let supervisor = service.main_pid();
    let started = |worker| format!("journalctl --no-pager {STARTED} WORKER_PID={worker} -o cat");
    expect("the journal has an entry", || {
        let found = machine.run(&started(service.worker_pid()));
        found.stdout.contains("starting new worker").then_some(())
    });

    machine
        .run(&format!("systemctl stop {SOCKETS} {JOURNALD}"))
        .ok();
    service.systemctl("reload").ok();
    let worker = service.worker_pid();
    machine.get(port).unwrap();
    let line = format!("starting new worker {worker}\n");
    let said = machine.read("/run/alone.log");
    assert!(said.contains(&line), "{said}");

    // A journal that comes back is used again.
    machine
        .run(&format!("systemctl start {SOCKETS} {JOURNALD}"))
        .ok();
    service.systemctl("reload").ok();
    assert_eq!(service.main_pid(), supervisor);
    let worker = service.worker_pid();
    expect("the journal has an entry again", || {
        let found = machine.run(&started(worker)).stdout;
        found.contains("starting new worker").then_some(())
    });
    let said = machine.read("/run/alone.log");
    assert!(!said.contains(&format!("worker {worker}\n")), "{said}");
}
