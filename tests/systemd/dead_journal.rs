//! A journal that stops reading, or goes. On machines of its own.

use std::os::unix::net::UnixDatagram;

use crate::harness::{Lab, Service, eventually};

const JOURNALD: &str = "systemd-journald.service";
const SOCKETS: &str = "systemd-journald.socket systemd-journald-dev-log.socket";
const STARTED: &str = "MESSAGE_ID=4e91462d6a3a44ab90ab5e34ace4ef92";

/// Sends datagrams until the journal's queue has no room for even one more. Each socket has room for
/// some of its own.
fn fill_queue(lab: &Lab) {
    let path = lab.path("/run/systemd/journal/socket");
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

pub(crate) fn one_that_does_not_read_holds_nobody_up(lab: &'static Lab) {
    lab.install();
    let port = lab.port();
    let service = Service::new(
        lab,
        "held-up",
        format!("--port=127.0.0.1:{port} --interval=0"),
    )
    .start();
    let supervisor = service.main_pid();
    let journald = lab.property(JOURNALD, "MainPID");
    lab.run(&format!("kill -STOP {journald}")).ok();
    fill_queue(lab);

    // Standard error leads to the same journal, and its buffer is full soon: each of these reloads is
    // told in six lines.
    for _ in 0..80 {
        let before = service.generation();
        lab.run(&format!("kill -HUP {supervisor}")).ok();
        eventually("another generation", || {
            (service.generation() > before).then_some(())
        });
    }
    service.systemctl("reload").ok();
    let answer = lab.get(port).unwrap();
    assert!(!answer.starts_with("hello from generation 1,"), "{answer}");
    assert_eq!(service.main_pid(), supervisor);

    // When it reads again, it gets what there was to say, as lines...
    lab.run(&format!("kill -CONT {journald}")).ok();
    let lines = "journalctl --no-pager -u held-up -o cat _TRANSPORT=stdout";
    eventually(
        "more lines are in the journal than fit into a buffer",
        || (lab.run(lines).stdout.lines().count() > 400).then_some(()),
    );
    // ... and what comes from now on as entries.
    let worker = service.worker_pid();
    lab.run(&format!("kill -KILL {worker}")).ok();
    let entry = format!("journalctl --no-pager -u held-up SIGNAL=KILL WORKER_PID={worker} -o cat");
    eventually("the journal has entries again", || {
        let found = lab.run(&entry).stdout;
        found.contains("died unexpectedly").then_some(())
    });
}

pub(crate) fn without_one_lines_go_to_standard_error(lab: &'static Lab) {
    lab.install();
    let port = lab.port();
    let options = format!("--port=127.0.0.1:{port} --log-target=journal");
    let service = Service::new(lab, "alone", options)
        .line("StandardError=append:/run/alone.log")
        .start();
    let supervisor = service.main_pid();
    let started = |worker| format!("journalctl --no-pager {STARTED} WORKER_PID={worker} -o cat");
    eventually("the journal has an entry", || {
        let found = lab.run(&started(service.worker_pid()));
        found.stdout.contains("starting new worker").then_some(())
    });

    lab.run(&format!("systemctl stop {SOCKETS} {JOURNALD}"))
        .ok();
    service.systemctl("reload").ok();
    let worker = service.worker_pid();
    lab.get(port).unwrap();
    let line = format!("starting new worker {worker}\n");
    let said = lab.read("/run/alone.log");
    assert!(said.contains(&line), "{said}");

    // One that comes back is used again.
    lab.run(&format!("systemctl start {SOCKETS} {JOURNALD}"))
        .ok();
    service.systemctl("reload").ok();
    assert_eq!(service.main_pid(), supervisor);
    let worker = service.worker_pid();
    eventually("the journal has an entry again", || {
        let found = lab.run(&started(worker)).stdout;
        found.contains("starting new worker").then_some(())
    });
    let said = lab.read("/run/alone.log");
    assert!(!said.contains(&format!("worker {worker}\n")), "{said}");
}
