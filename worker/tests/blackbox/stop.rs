//! The signal to drain on.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGTERM, SIGUSR1};
use server_starter_worker::{Signal, Stop};

use crate::start::{PATIENCE, Worker, say};

#[test]
#[ignore = "a worker"]
fn waits() {
    let stop = Stop::on_signals().unwrap();
    let (readable, _writer) = nix::unistd::pipe().unwrap();
    let waiter = thread::spawn(move || stop.or_readable(readable).unwrap());
    assert!(!stop.requested());
    assert!(!stop.wait_timeout(Duration::from_millis(1)));
    say("waiting");
    stop.wait();
    assert!(!waiter.join().unwrap());
    assert!(stop.requested() && stop.wait_timeout(Duration::ZERO));
    say(stop.signal().unwrap());
    // Until the second one, if there is one.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    say("done");
}

fn waits_for_a_signal() -> Worker {
    Worker::test("stop::waits").at(0, std::fs::File::open("/dev/null").unwrap())
}

#[test]
fn term_and_int() {
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let mut worker = waits_for_a_signal().start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(signal);
        assert_eq!(worker.next_line().as_deref(), Some(name));
        assert_eq!(worker.next_line().as_deref(), Some("done"));
        assert_eq!(worker.exit_code(), Some(0));
    }
}

#[test]
fn a_second_int_ends_it_and_a_second_term_does_not() {
    let (input, writer) = nix::unistd::pipe().unwrap();
    let mut worker = Worker::test("stop::waits").at(0, &input).start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
    worker.signal(SIGTERM);
    // Two that come together are one: so again and again.
    let start = Instant::now();
    while !worker.is_gone() {
        assert!(start.elapsed() < PATIENCE, "it lives on");
        worker.signal(SIGINT);
        thread::yield_now();
    }
    assert_eq!(worker.next_line(), None, "it did not get to the end");
    assert_eq!(worker.exit_code(), None, "killed");
    drop(writer);
}

#[test]
fn a_blocked_signal_is_unblocked() {
    let mut worker = waits_for_a_signal()
        .through_env("--block-signal=TERM")
        .start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
}

#[test]
fn an_ignored_int_stays_ignored() {
    let mut worker = waits_for_a_signal()
        .through_env("--ignore-signal=INT")
        .start();
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGINT);
    worker.signal(SIGTERM);
    assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
}

#[test]
#[ignore = "a worker"]
fn chooses_usr1() {
    let stop = Stop::on(&[Signal::Usr1]).unwrap();
    let status = Command::new("grep")
        .args(["^SigBlk", "/proc/self/status"])
        .output()
        .unwrap();
    for line in String::from_utf8(status.stdout).unwrap().lines() {
        say(line);
    }
    say("waiting");
    stop.wait();
    say(stop.signal().unwrap());
}

#[test]
fn other_signals_and_children_inherit_nothing() {
    let mut worker = Worker::test("stop::chooses_usr1").start();
    let blocked = worker.next_line();
    assert_eq!(blocked.as_deref(), Some("SigBlk:\t0000000000000000"));
    assert_eq!(worker.next_line().as_deref(), Some("waiting"));
    worker.signal(SIGUSR1);
    assert_eq!(worker.next_line().as_deref(), Some("SIGUSR1"));
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
#[ignore = "a worker"]
fn is_told_by_itself() {
    let stop = Stop::on(&[]).unwrap();
    let waiter = thread::spawn(move || stop.wait());
    stop.request();
    stop.request();
    waiter.join().unwrap();
    assert!(stop.requested());
    assert_eq!(stop.signal(), None);
}

#[test]
fn a_program_may_stop_itself() {
    Worker::test("stop::is_told_by_itself").says();
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use super::*;

    #[test]
    #[ignore = "a worker"]
    fn waits_in_many_tasks() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stop = Stop::on_signals().unwrap();
            let tasks: Vec<_> = (0..10).map(|_| tokio::spawn(stop.stopped())).collect();
            say("waiting");
            for task in tasks {
                task.await.unwrap();
            }
            stop.stopped().await;
            say(stop.signal().unwrap());
        });
    }

    #[test]
    fn a_future() {
        let mut worker = Worker::test("stop::with_tokio::waits_in_many_tasks").start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(SIGTERM);
        assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
        assert_eq!(worker.exit_code(), Some(0));
    }

    #[test]
    #[ignore = "a worker"]
    fn waits_without_descriptors() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stop = Stop::on_signals().unwrap();
            let mut all = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                all.push(file);
            }
            say("waiting");
            stop.stopped().await;
            say(stop.signal().unwrap());
        });
    }

    #[test]
    fn a_future_without_descriptors() {
        let mut worker = Worker::test("stop::with_tokio::waits_without_descriptors").start();
        assert_eq!(worker.next_line().as_deref(), Some("waiting"));
        worker.signal(SIGTERM);
        assert_eq!(worker.next_line().as_deref(), Some("SIGTERM"));
        assert_eq!(worker.exit_code(), Some(0));
    }
}
