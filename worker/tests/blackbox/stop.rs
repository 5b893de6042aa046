//! `Stop`: signals, waiting, and what children inherit.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGTERM, SIGUSR1};
use server_starter_worker::{Signal, Stop};

use crate::start::{BOUND, Worker, report};

#[test]
#[ignore = "a worker"]
fn worker_waits_for_stop() {
    let stop = Stop::on_signals().unwrap();
    let (readable, _writer) = nix::unistd::pipe().unwrap();
    let waiter = thread::spawn(move || stop.or_readable(readable).unwrap());
    assert!(!stop.requested());
    assert!(!stop.wait_timeout(Duration::from_millis(1)));
    report("waiting");
    stop.wait();
    assert!(!waiter.join().unwrap());
    assert!(stop.requested() && stop.wait_timeout(Duration::ZERO));
    report(stop.signal().unwrap());
    // Blocks until the test closes the pipe, or a second signal ends the process.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    report("done");
}

fn waiting_worker() -> Worker {
    Worker::test("stop::worker_waits_for_stop").at(0, std::fs::File::open("/dev/null").unwrap())
}

#[test]
fn term_and_int_request_stop() {
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let mut worker = waiting_worker().start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(signal);
        assert_eq!(worker.next_line().as_deref(), Some(name));
        assert_eq!(worker.next_line().as_deref(), Some("done"));
        assert_eq!(worker.exit_code(), Some(0));
    }
}

#[test]
fn second_int_kills_the_process_and_second_term_does_not() {
    let (input, writer) = nix::unistd::pipe().unwrap();
    let mut worker = Worker::test("stop::worker_waits_for_stop")
        .at(0, &input)
        .start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
    worker.signal(SIGTERM);
    // Pending signals of one number are merged, so one more may not be enough.
    let start = Instant::now();
    while !worker.has_exited() {
        assert!(start.elapsed() < BOUND, "still running");
        worker.signal(SIGINT);
        thread::yield_now();
    }
    assert_eq!(worker.next_line(), None, "killed before its last line");
    assert_eq!(worker.exit_code(), None, "killed");
    drop(writer);
}

#[test]
fn blocked_signal_is_unblocked() {
    let mut worker = waiting_worker().through_env("--block-signal=TERM").start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
}

#[test]
fn ignored_int_stays_ignored() {
    let mut worker = waiting_worker().through_env("--ignore-signal=INT").start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGINT);
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
}

#[test]
#[ignore = "a worker"]
fn worker_stops_on_usr1() {
    let stop = Stop::on(&[Signal::Usr1]).unwrap();
    let status = Command::new("grep")
        .args(["^SigBlk", "/proc/self/status"])
        .output()
        .unwrap();
    for line in String::from_utf8(status.stdout).unwrap().lines() {
        report(line);
    }
    report("waiting");
    stop.wait();
    report(stop.signal().unwrap());
}

#[test]
fn usr1_requests_stop_and_no_signal_is_blocked() {
    let mut worker = Worker::test("stop::worker_stops_on_usr1").start();
    let blocked = worker.next_line();
    assert_eq!(blocked.as_deref(), Some("SigBlk:\t0000000000000000"));
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGUSR1);
    assert_eq!(worker.next_line().as_deref(), Some("SIGUSR1"));
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
#[ignore = "a worker"]
fn worker_requests_its_own_stop() {
    let stop = Stop::on(&[]).unwrap();
    let waiter = thread::spawn(move || stop.wait());
    stop.request();
    stop.request();
    waiter.join().unwrap();
    assert!(stop.requested());
    assert_eq!(stop.signal(), None);
}

#[test]
fn process_can_request_its_own_stop() {
    Worker::test("stop::worker_requests_its_own_stop").reports();
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use super::*;

    #[test]
    #[ignore = "a worker"]
    fn worker_awaits_stop_in_many_tasks() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stop = Stop::on_signals().unwrap();
            let tasks: Vec<_> = (0..10).map(|_| tokio::spawn(stop.stopped())).collect();
            report("waiting");
            for task in tasks {
                task.await.unwrap();
            }
            stop.stopped().await;
            report(stop.signal().unwrap());
        });
    }

    #[test]
    fn stopped_future_resolves_in_every_task() {
        let mut worker = Worker::test("stop::with_tokio::worker_awaits_stop_in_many_tasks").start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(SIGTERM);
        assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
        assert_eq!(worker.exit_code(), Some(0));
    }

    #[test]
    #[ignore = "a worker"]
    fn worker_awaits_stop_without_free_descriptors() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stop = Stop::on_signals().unwrap();
            let mut all = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                all.push(file);
            }
            report("waiting");
            stop.stopped().await;
            report(stop.signal().unwrap());
        });
    }

    #[test]
    fn stopped_future_resolves_without_free_descriptors() {
        let mut worker =
            Worker::test("stop::with_tokio::worker_awaits_stop_without_free_descriptors").start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(SIGTERM);
        assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
        assert_eq!(worker.exit_code(), Some(0));
    }
}
