//! systemd's supervision of the supervisor: watchdog, start timeout and stop.

use std::fs;
use std::time::{Duration, Instant};

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

pub(crate) fn watchdog_restarts_a_stopped_supervisor(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "watched", format!("--port=127.0.0.1:{port}"))
        .line("WatchdogSec=5")
        .line("LimitCORE=0")
        .line("Restart=on-failure")
        .start();
    let supervisor = service.main_pid();
    machine.run(&format!("kill -STOP {supervisor}")).ok();
    service.wait_restarted(supervisor);
    machine.get(port).unwrap();
    assert_eq!(service.property("NRestarts"), "1");
    let journal = service.journal();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    // A healthy supervisor is not restarted within twice the timeout.
    let supervisor = service.main_pid();
    let since = Instant::now();
    expect("twice the timeout is over", || {
        (since.elapsed() > Duration::from_secs(10)).then_some(())
    });
    assert_eq!(service.main_pid(), supervisor);
    assert_eq!(service.property("NRestarts"), "1");
}

pub(crate) fn start_may_take_longer_than_its_timeout(machine: &'static Machine) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --ready=alive --interval=4");
    let service = Service::new(machine, "slow-start", options).line("TimeoutStartSec=2");
    service.write();
    // A daemon-reload makes systemd forget that a time-out was extended.
    let _unchanged = machine.unchanged();
    let start = Instant::now();
    service.systemctl("start").ok();
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.property("NRestarts"), "0");
    machine.get(port).unwrap();
}

pub(crate) fn stop_answers_requests_under_way(machine: &'static Machine) {
    let port = machine.port();
    let service = Service::new(machine, "drained", format!("--port=127.0.0.1:{port}")).start();
    let worker = service.worker_pid();
    let descriptors = || {
        let entries = fs::read_dir(machine.path(&format!("/proc/{worker}/fd")));
        entries.map_or(0, Iterator::count)
    };
    let idle = descriptors();
    let slow = machine.get_slowly(port, 3000);
    expect("the request is accepted", || {
        (descriptors() > idle).then_some(())
    });
    service.systemctl("stop").ok();
    let answer = slow.join().unwrap().unwrap();
    assert_eq!(answer, format!("hello from generation 1, pid {worker}"));
    assert_eq!(service.property("ActiveState"), "inactive");
    assert_eq!(service.property("Result"), "success");
}

/// With `Delegate=yes` each generation has a cgroup of its own, from which not even a daemon escapes.
pub(crate) fn delegated_cgroup_is_killed_with_its_generation(machine: &'static Machine) {
    let service = Service::new(machine, "delegated", "--stop-timeout=1")
        .line("Delegate=yes")
        .line("LimitCORE=0");
    // The daemon has left the worker's process tree.
    service.set_worker(
        "trap '' TERM; setsid sh -c 'sleep 1000 & echo $! >/run/delegated/daemon'; sleep 1000 & wait",
    );
    let service = service.start();
    let (worker, supervisor) = (service.worker_pid(), service.main_pid());
    let cgroup = machine.read(&format!("/proc/{worker}/cgroup"));
    assert!(
        cgroup
            .trim_end()
            .ends_with(&format!("/delegated.service/start_server.{supervisor}.1")),
        "{cgroup}"
    );
    let daemon = machine.read("/run/delegated/daemon");
    let daemon = machine.path(&format!("/proc/{}/cgroup", daemon.trim()));
    assert!(daemon.exists(), "the daemon does not run");
    service.set_worker("exec sleep 1000");
    service.systemctl("reload").ok();
    expect("the daemon is dead", || (!daemon.exists()).then_some(()));
    assert_eq!(service.main_pid(), supervisor);
    assert_eq!(service.generation(), 2);
    service.systemctl("stop").ok();
}
