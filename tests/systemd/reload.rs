//! `systemctl reload`: its duration and its result are those of the reload.

use std::time::{Duration, Instant};

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

fn service(machine: &'static Machine, name: &str, options: &str) -> (Service, u16) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --start-attempts=2 {options}");
    (Service::new(machine, name, options), port)
}

/// `systemctl reload` succeeds, and returns when the new generation serves, not earlier.
fn expect_success(service: &Service, port: u16, interval: Duration) {
    let (before, supervisor) = (service.generation(), service.main_pid());
    let start = Instant::now();
    service.systemctl("reload").ok();
    assert!(start.elapsed() >= interval, "after {:?}", start.elapsed());
    assert!(service.generation() > before, "{:?}", service.workers());
    assert_eq!(service.main_pid(), supervisor);
    service.machine.get(port).unwrap();
    expect("the old generation ends", || {
        (service.workers().len() == 1).then_some(())
    });
}

/// With a worker that does not start `systemctl reload` fails, `systemctl status` and the journal have the reason, and the
/// old generation serves on.
fn expect_failure(service: &Service, port: u16) {
    let (before, supervisor) = (service.workers(), service.main_pid());
    service.set_worker("echo 'no such database' >&2; exit 3");
    let start = Instant::now();
    let reload = service.systemctl("reload");
    assert!(!reload.success(), "{reload:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "{reload:?}");
    old_generation_serves(service, port, &before, supervisor);
    let journal = service.journal();
    assert!(journal.contains("no such database"), "{journal}");
    let kept = before.last().unwrap().0;
    let reason = format!("the reload failed: exit code 3; generation {kept} serves on");
    assert!(journal.contains(&reason), "{journal}");
    // The log line has the journalctl command that shows the worker's output.
    let (_, query) = journal.split_once("(what was written: ").unwrap();
    let (query, _) = query.split_once(')').unwrap();
    let found = service
        .machine
        .run(&format!("{query} --no-pager --output=cat"));
    assert!(found.stdout.contains("no such database"), "{found:?}");
}

fn old_generation_serves(service: &Service, port: u16, before: &[(u32, u32)], supervisor: u32) {
    let (generation, pid) = *before.last().unwrap();
    let reason = format!("exit code 3, generation {generation} kept");
    expect("the reason is in the status", || {
        let status = service.systemctl("status --no-pager").stdout;
        (status.contains("reload at") && status.contains(&reason)).then_some(())
    });
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.property("SubState"), "running");
    assert_eq!(service.main_pid(), supervisor);
    assert_eq!(service.workers(), before);
    let answer = service.machine.get(port).unwrap();
    assert_eq!(
        answer,
        format!("hello from generation {generation}, pid {pid}")
    );
}

/// With a good worker the next reload succeeds.
fn expect_recovery(service: &Service, port: u16) {
    service.set_worker("exec /usr/local/bin/hello");
    expect_success(service, port, Duration::ZERO);
    // A further reload may be under way, see `wait_settled`.
    expect("the status reports the success", || {
        let status = service.property("StatusText");
        status.contains("succeeded").then_some(())
    });
}

pub(crate) fn reload_waits_for_the_new_generation(machine: &'static Machine) {
    let (service, port) = service(machine, "reload", "--ready=alive --interval=1.5");
    let service = service.start();
    expect_success(&service, port, Duration::from_millis(1500));
}

pub(crate) fn failed_reload_is_reported_and_the_old_generation_serves(machine: &'static Machine) {
    let (service, port) = service(machine, "fails", "");
    let service = service.start();
    expect_failure(&service, port);
    expect_recovery(&service, port);
}

/// With Type=notify-reload, too, the exit status of the client is the result of the reload.
pub(crate) fn notify_reload_works_with_a_client(machine: &'static Machine) {
    let (service, port) = service(machine, "notify-reload-client", "--ready=alive");
    let service = service.kind("notify-reload").start();
    expect_success(&service, port, Duration::from_millis(300));
    wait_settled(&service);
    expect_failure(&service, port);
    wait_settled(&service);
    expect_recovery(&service, port);
}

/// Waits until no reload is under way: systemd runs the client and sends HUP, so that a second reload may follow.
fn wait_settled(service: &Service) {
    expect("no reload is under way", || {
        let quiet = service.property("SubState") == "running"
            && !service.property("StatusText").contains("starting")
            && service.workers().len() == 1;
        quiet.then_some(())
    });
}

/// Without a client systemd waits for READY=1, which cannot report a failure. The status does.
pub(crate) fn notify_reload_works_without_a_client(machine: &'static Machine) {
    let (service, port) = service(machine, "notify-reload", "--ready=alive --interval=1.5");
    let service = service.kind("notify-reload").line("ExecReload=").start();
    expect_success(&service, port, Duration::from_millis(1500));
    let (before, supervisor) = (service.workers(), service.main_pid());
    service.set_worker("exit 3");
    service.systemctl("reload").ok();
    old_generation_serves(&service, port, &before, supervisor);
    expect_recovery(&service, port);
}
