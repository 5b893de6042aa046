//! Journal entries with fields, and the catalog that explains them.

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

const STARTED: &str = "4e91462d6a3a44ab90ab5e34ace4ef92";
const DIED_UNEXPECTEDLY: &str = "cb02f1dc4c3e4bef9b9f3e71ba967f1f";

/// The entries that journalctl finds, once there are some.
fn found(service: &Service, query: &str) -> String {
    expect(&format!("journalctl {query}"), || {
        let command = format!("journalctl --no-pager -u {} {query}", service.name);
        let entries = service.machine.run(&command).stdout;
        (!entries.is_empty() && !entries.contains("-- No entries --")).then_some(entries)
    })
}

pub(crate) fn entries_are_found_by_their_fields(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "journalled", format!("--port=127.0.0.1:{port}")).start();
    let worker = service.worker_pid();
    let started = format!("MESSAGE_ID={STARTED} GENERATION=1 WORKER_PID={worker} -o cat");
    assert_eq!(
        found(&service, &started).trim(),
        format!("starting new worker {worker}")
    );

    machine.run(&format!("kill -KILL {worker}")).ok();
    let died = found(
        &service,
        &format!("MESSAGE_ID={DIED_UNEXPECTEDLY} SIGNAL=KILL -o verbose"),
    );
    let message = format!(
        "MESSAGE=worker {worker} died unexpectedly with status:9, restarting (killed by KILL)"
    );
    for field in [
        &*message,
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=start_server",
        "GENERATION=1",
    ] {
        assert!(
            died.lines().any(|line| line.trim() == field),
            "{field} in {died}"
        );
    }
}

pub(crate) fn catalog_explains_an_entry(machine: &'static Machine) {
    let port = machine.port();
    let catalog = include_str!("../../systemd/server-starter.catalog");
    machine.write(
        "/usr/lib/systemd/catalog/server-starter.catalog",
        catalog,
        0o644,
    );
    machine.run("journalctl --update-catalog").ok();
    let service = Service::new(machine, "explained", format!("--port=127.0.0.1:{port}")).start();
    let explained = found(&service, &format!("-x MESSAGE_ID={STARTED}"));
    assert!(
        explained.contains("Generation 1 of the server is being started"),
        "{explained}"
    );
}

pub(crate) fn plain_lines_are_logged_with_the_option(machine: &'static Machine) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --log-target=stderr");
    let service = Service::new(machine, "plain-lines", options).start();
    let lines = found(&service, "_TRANSPORT=stdout -o cat");
    assert!(lines.contains("starting new worker "), "{lines}");
}
