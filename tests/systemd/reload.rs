//! `systemctl reload` tells the truth.

use std::time::{Duration, Instant};

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

fn service(machine: &'static Machine, name: &str, options: &str) -> (Service, u16) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --start-attempts=2 {options}");
    (Service::new(machine, name, options), port)
}

/// A reload returns when, and not before, the new generation serves.
fn succeeds(service: &Service, port: u16, interval: Duration) {
    let (before, supervisor) = (service.generation(), service.main_pid());
    let start = Instant::now();
    service.systemctl("reload").ok();
    assert!(start.elapsed() >= interval, "after {:?}", start.elapsed());
    assert!(service.generation() > before, "{:?}", service.workers());
    assert_eq!(service.main_pid(), supervisor);
    service.machine.get(port).unwrap();
    expect("the old generation leaves", || {
        (service.workers().len() == 1).then_some(())
    });
}

/// A program that does not start: the reload ends with an error, `systemctl status` and the
/// journal say why, and the old generation serves on.
fn fails(service: &Service, port: u16) {
    let (before, supervisor) = (service.workers(), service.main_pid());
    service.becomes("echo 'no such database' >&2; exit 3");
    let start = Instant::now();
    let reload = service.systemctl("reload");
    assert!(!reload.success(), "{reload:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "{reload:?}");
    old_generation_serves(service, port, &before, supervisor);
    let journal = service.journal();
    assert!(journal.contains("no such database"), "{journal}");
    let kept = before.last().unwrap().0;
    let verdict = format!("the reload failed: exit code 3; generation {kept} serves on");
    assert!(journal.contains(&verdict), "{journal}");
    // The verdict says where to look, and that is where it is.
    let (_, query) = journal.split_once("(what was written: ").unwrap();
    let (query, _) = query.split_once(')').unwrap();
    let found = service
        .machine
        .run(&format!("{query} --no-pager --output=cat"));
    assert!(found.stdout.contains("no such database"), "{found:?}");
}

fn old_generation_serves(service: &Service, port: u16, before: &[(u32, u32)], supervisor: u32) {
    let (generation, pid) = *before.last().unwrap();
    let verdict = format!("exit code 3, generation {generation} kept");
    expect("the verdict is in the status", || {
        let status = service.systemctl("status --no-pager").stdout;
        (status.contains("reload at") && status.contains(&verdict)).then_some(())
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

fn recovers(service: &Service, port: u16) {
    service.becomes("exec /usr/local/bin/hello");
    succeeds(service, port, Duration::ZERO);
    // Another one may be under way: see `settled`.
    expect("the status says that it succeeded", || {
        let status = service.property("StatusText");
        status.contains("succeeded").then_some(())
    });
}

pub(crate) fn reload_waits_for_the_new_generation(machine: &'static Machine) {
    let (service, port) = service(machine, "reload", "--ready=alive --interval=1.5");
    let service = service.start();
    succeeds(&service, port, Duration::from_millis(1500));
}

pub(crate) fn a_failed_reload_says_so_and_costs_nothing(machine: &'static Machine) {
    let (service, port) = service(machine, "fails", "");
    let service = service.start();
    fails(&service, port);
    recovers(&service, port);
}

/// The client's exit status is the reload's here, too, and what the supervisor says meanwhile
/// does no harm.
pub(crate) fn notify_reload_with_a_client(machine: &'static Machine) {
    let (service, port) = service(machine, "notify-reload-client", "--ready=alive");
    let service = service.kind("notify-reload").start();
    succeeds(&service, port, Duration::from_millis(300));
    settled(&service);
    fails(&service, port);
    settled(&service);
    recovers(&service, port);
}

/// systemd sends HUP as well as running the client, so a second reload may follow the first.
fn settled(service: &Service) {
    expect("no reload is under way", || {
        let quiet = service.property("SubState") == "running"
            && !service.property("StatusText").contains("starting")
            && service.workers().len() == 1;
        quiet.then_some(())
    });
}

/// Without a client systemd waits for READY=1. It cannot hear that a reload failed; the status
/// says so.
pub(crate) fn notify_reload_alone(machine: &'static Machine) {
    let (service, port) = service(machine, "notify-reload", "--ready=alive --interval=1.5");
    let service = service.kind("notify-reload").line("ExecReload=").start();
    succeeds(&service, port, Duration::from_millis(1500));
    let (before, supervisor) = (service.workers(), service.main_pid());
    service.becomes("exit 3");
    service.systemctl("reload").ok();
    old_generation_serves(&service, port, &before, supervisor);
    recovers(&service, port);
}
