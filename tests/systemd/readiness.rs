//! Workers that send READY=1 by `systemd-notify`, a child process that waits until the message is read.

use std::time::{Duration, Instant};

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

const SENDS_READY: &str = "systemd-notify --ready --status=\"hello from $SERVER_STARTER_GENERATION\" && \
                          exec /usr/local/bin/hello";

fn service(machine: &'static Machine, name: &str, options: &str) -> (Service, u16) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --ready=notify --start-attempts=1 {options}");
    let service = Service::new(machine, name, options);
    service.set_worker(SENDS_READY);
    (service, port)
}

pub(crate) fn reload_waits_for_ready(machine: &'static Machine) {
    // An interval that is not over during the test: only READY makes a worker ready.
    let (service, port) = service(machine, "word", "--interval=1000");
    let service = service.start();
    assert_eq!(
        service.property("StatusText"),
        format!(
            "generation 1 serving (pid {}): hello from 1",
            service.worker_pid()
        )
    );
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    expect(
        "the status of the worker is in the status of the unit",
        || {
            let status = service.property("StatusText");
            let told =
                status.contains(": hello from 2; reload at ") && status.ends_with(" succeeded");
            told.then_some(())
        },
    );
    expect("the new generation answers", || {
        let answer = machine.get(port).ok()?;
        answer.starts_with("hello from generation 2").then_some(())
    });
}

pub(crate) fn reload_without_ready_fails_with_the_reason(machine: &'static Machine) {
    let (service, port) = service(machine, "mute", "--start-timeout=1");
    let reload = "ExecReload=\n\
        ExecReload=/usr/bin/start_server --restart --until=ready --timeout=10 \
        --pid-file=${RUNTIME_DIRECTORY}/pid --status-file=${RUNTIME_DIRECTORY}/status";
    let service = service.line(reload).start();
    let (generation, pid) = *service.workers().last().unwrap();
    service.set_worker(
        "systemd-notify --status='warming up' && NOTIFY_SOCKET= exec /usr/local/bin/hello",
    );
    assert!(!service.systemctl("reload").success());
    let reason =
        " failed: never said READY=1 in 1 s (it said: warming up), generation 1 kept".to_owned();
    expect("the reason is in the status", || {
        service
            .property("StatusText")
            .ends_with(&reason)
            .then_some(())
    });
    assert_eq!(service.workers(), [(generation, pid)]);
    assert_eq!(service.property("ActiveState"), "active");
    // The worker without READY may have served meanwhile; it is stopped, and the old one serves on.
    expect("the old generation answers", || {
        let answer = machine.get(port).ok()?;
        answer.starts_with("hello from generation 1").then_some(())
    });
}

pub(crate) fn worker_can_extend_the_start_timeout_of_the_unit(machine: &'static Machine) {
    let (service, port) = service(machine, "patient", "--start-timeout=2");
    service.set_worker(
        "systemd-notify EXTEND_TIMEOUT_USEC=30000000 && sleep 4 && \
         systemd-notify --ready && exec /usr/local/bin/hello",
    );
    let service = service.line("TimeoutStartSec=3");
    service.write();
    // A daemon-reload makes systemd 252 forget that the time-out was extended.
    let _unchanged = machine.unchanged();
    let begun = Instant::now();
    service.systemctl("start").ok();
    assert!(begun.elapsed() >= Duration::from_secs(4));
    service.wait_active();
    expect("the worker answers", || machine.get(port).ok());
}
