//! Workers that say READY=1, by systemd's own `systemd-notify`: a child of theirs says it for them,
//! and waits until it has been heard.

use std::time::{Duration, Instant};

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

const SAYS_READY: &str = "systemd-notify --ready --status=\"hello from $SERVER_STARTER_GENERATION\" && \
                          exec /usr/local/bin/hello";

fn service(machine: &'static Machine, name: &str, options: &str) -> (Service, u16) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --ready=notify --start-attempts=1 {options}");
    let service = Service::new(machine, name, options);
    service.becomes(SAYS_READY);
    (service, port)
}

pub(crate) fn a_reload_takes_as_long_as_the_word(machine: &'static Machine) {
    // It would never be ready by having lived.
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
    expect("its words are in the status", || {
        let status = service.property("StatusText");
        let told = status.contains(": hello from 2; reload at ") && status.ends_with(" succeeded");
        told.then_some(())
    });
    expect("the new one answers", || {
        let answer = machine.get(port).ok()?;
        answer.starts_with("hello from generation 2").then_some(())
    });
}

pub(crate) fn a_reload_without_the_word_fails_and_says_why(machine: &'static Machine) {
    let (service, port) = service(machine, "mute", "--start-timeout=1");
    let reload = "ExecReload=\n\
        ExecReload=/usr/bin/start_server --restart --until=ready --timeout=10 \
        --pid-file=${RUNTIME_DIRECTORY}/pid --status-file=${RUNTIME_DIRECTORY}/status";
    let service = service.line(reload).start();
    let (generation, pid) = *service.workers().last().unwrap();
    service.becomes(
        "systemd-notify --status='warming up' && NOTIFY_SOCKET= exec /usr/local/bin/hello",
    );
    assert!(!service.systemctl("reload").success());
    let verdict =
        " failed: never said READY=1 in 1 s (it said: warming up), generation 1 kept".to_owned();
    expect("the verdict is in the status", || {
        service
            .property("StatusText")
            .ends_with(&verdict)
            .then_some(())
    });
    assert_eq!(service.workers(), [(generation, pid)]);
    assert_eq!(service.property("ActiveState"), "active");
    // Who was never ready may have served meanwhile; it has gone, and the old one serves on.
    expect("the old one answers", || {
        let answer = machine.get(port).ok()?;
        answer.starts_with("hello from generation 1").then_some(())
    });
}

pub(crate) fn a_worker_may_ask_for_more_time_than_the_unit_has(machine: &'static Machine) {
    let (service, port) = service(machine, "patient", "--start-timeout=2");
    service.becomes(
        "systemd-notify EXTEND_TIMEOUT_USEC=30000000 && sleep 4 && \
         systemd-notify --ready && exec /usr/local/bin/hello",
    );
    let service = service.line("TimeoutStartSec=3");
    service.write();
    // 252 forgets what it was asked for when it reads its files anew.
    let _unchanged = machine.unchanged();
    let begun = Instant::now();
    service.systemctl("start").ok();
    assert!(begun.elapsed() >= Duration::from_secs(4));
    service.is_active();
    expect("it answers", || machine.get(port).ok());
}
