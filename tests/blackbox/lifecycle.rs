//! Start and death of workers: readiness after the interval, failed attempts, crashes.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use server_starter_testing::workers::{FAILS, SLEEPS, STUBBORN};

use crate::fixtures::{bare_supervisor, start, supervisor};

#[test]
fn worker_is_ready_after_it_has_lived_for_the_interval() {
    let begin = Instant::now();
    let s = start(&["--interval=2"], SLEEPS);
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "ready after {:?}",
        begin.elapsed()
    );
    s.stop();
}

#[test]
fn interval_defaults_to_one_second() {
    let begin = Instant::now();
    let s = bare_supervisor(&["--status-file=DIR/status"])
        .sh(SLEEPS)
        .spawn();
    s.wait_generation(1);
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "ready after {:?}",
        begin.elapsed()
    );
    s.stop();
}

#[test]
fn worker_that_dies_during_the_interval_has_failed_and_another_is_started() {
    let begin = Instant::now();
    let s = supervisor(&["--interval=2"]).sh(FAILS).spawn();
    for generation in 1..=3 {
        let worker = s.wait_new_worker();
        s.wait_line(&format!(
            "new worker {worker} seems to have failed to start, exit status:256"
        ));
        assert_eq!(s.wait_up(generation), worker);
    }
    // the next attempt comes after the rest of the interval
    assert!(
        begin.elapsed() >= Duration::from_secs(4),
        "three attempts in {:?}",
        begin.elapsed()
    );
    assert!(
        !s.path("status").exists(),
        "there is a status file before a generation is ready"
    );
    s.stop();
}

#[test]
fn wait_status_of_a_failed_worker_is_logged_as_is() {
    for (script, status) in [
        ("up; exit 3", 768),
        ("up; kill -KILL $$", 9),
        ("exit 0", 0),
        ("up; kill -TERM $$", 15),
    ] {
        let s = supervisor(&["--interval=2"]).sh(script).spawn();
        let worker = s.wait_new_worker();
        s.wait_line(&format!(
            "new worker {worker} seems to have failed to start, exit status:{status}"
        ));
        s.stop();
    }
}

#[test]
fn each_failed_attempt_uses_a_generation() {
    let worker =
        "up; if [ \"$SERVER_STARTER_GENERATION\" -lt 3 ]; then exit 1; fi; exec sleep 1000";
    let s = start(&["--interval=2"], worker);
    let third = s.wait_generation(3);
    assert_eq!(s.started().last(), Some(&third));
    assert_eq!(s.started().len(), 3);
    s.stop();
}

#[test]
fn crashed_worker_is_replaced() {
    let s = start(&[], SLEEPS);
    let mut worker = s.wait_generation(1);
    for generation in 2..=3 {
        s.settle();
        worker.signal(Signal::SIGKILL);
        s.wait_line(&format!(
            "worker {worker} died unexpectedly with status:9, restarting"
        ));
        let next = s.wait_new_worker();
        assert_eq!(s.wait_generation(generation), next);
        worker = next;
    }
    s.stop();
}

#[test]
fn exited_worker_is_replaced() {
    let worker = "up; if [ $SERVER_STARTER_GENERATION = 1 ]; then read go <\"$DIR/gate\"; exit 0; fi; exec sleep 1000";
    let s = supervisor(&[])
        .before("mkfifo \"$DIR/gate\"")
        .sh(worker)
        .start();
    let first = s.wait_generation(1);
    s.settle();
    s.open_gate("gate");
    s.wait_line(&format!(
        "worker {first} died unexpectedly with status:0, restarting"
    ));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn worker_ended_by_any_signal_is_replaced() {
    // real-time signals have no names
    for signal in [1, 2, 10, 14, 40, 64] {
        let worker = format!(
            "up; if [ $SERVER_STARTER_GENERATION = 1 ]; then read go <\"$DIR/gate\"; kill -{signal} $$; fi; exec sleep 1000"
        );
        let s = supervisor(&[])
            .before("mkfifo \"$DIR/gate\"")
            .sh(&worker)
            .start();
        let first = s.wait_generation(1);
        s.settle();
        s.open_gate("gate");
        s.wait_line(&format!(
            "worker {first} died unexpectedly with status:{signal}, restarting"
        ));
        s.wait_generation(2);
        s.stop();
    }
}

#[test]
fn crashed_worker_is_replaced_while_an_old_worker_drains() {
    let s = start(&[], STUBBORN);
    let first = s.wait_generation(1);
    s.hup();
    let second = s.wait_generations(&[1, 2])[1];
    s.settle();
    second.signal(Signal::SIGKILL);
    s.wait_line(&format!(
        "worker {second} died unexpectedly with status:9, restarting"
    ));
    s.wait_generations(&[1, 3]);
    s.settle();
    first.signal(Signal::SIGKILL);
    s.wait_line(&format!("old worker {first} died, status:9"));
    s.wait_generation(3).signal(Signal::SIGKILL);
    s.wait_generation(4).signal(Signal::SIGKILL);
}

mod extensions {
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS, FAILS_ON_DEMAND, SLEEPS};

    use crate::fixtures::{start, supervisor};

    #[test]
    fn worker_that_goes_into_the_background_gets_a_hint() {
        let s = supervisor(&["--start-attempts=1", "--interval=2"])
            .sh("exit 0")
            .spawn();
        let line = s.wait_line_starting("new worker ");
        assert!(
            line.contains("exit status:0 (") && line.contains("foreground"),
            "{line}"
        );
        s.expect_exit(1);
        let s = supervisor(&["--start-attempts=1", "--interval=2"])
            .sh("exit 127")
            .spawn();
        let line = s.wait_line_starting("new worker ");
        assert!(
            line.contains("the shell did not find the program"),
            "{line}"
        );
        s.expect_exit(1);
    }

    #[test]
    fn missing_program_at_the_first_start_ends_the_supervisor() {
        let missing = supervisor(&["--port=127.0.0.1:0"])
            .program(["--", "/no/such/program"])
            .run();
        missing.expect(
            1,
            &["failed to exec /no/such/program: No such file or directory"],
        );
        assert!(!missing.stderr.contains("starting new worker"), "{missing}");
        supervisor(&[])
            .program(["--", "no-such-program-in-path"])
            .run()
            .expect(1, &["no-such-program-in-path"]);
        let denied = supervisor(&[])
            .file("program", "#!/bin/sh\n")
            .program(["--", "./program"])
            .run();
        denied.expect(1, &["failed to exec ./program: Permission denied"]);
    }

    #[test]
    fn missing_directory_at_the_first_start_ends_the_supervisor() {
        let missing = supervisor(&["--dir=/no/such/directory"])
            .program(["--", "true"])
            .run();
        missing.expect(
            1,
            &["failed to chdir to /no/such/directory: No such file or directory"],
        );
    }

    #[test]
    fn failing_first_start_ends_after_the_start_attempts() {
        let options = [
            "--interval=2",
            "--start-attempts=3",
            "--pid-file=DIR/pid",
            "--path=DIR/a.sock",
        ];
        let s = supervisor(&options).sh(FAILS).spawn();
        s.expect_exit(1);
        assert_eq!(s.started().len(), 3);
        assert_eq!(s.count("new worker "), 3);
        for name in ["pid", "status", "a.sock"] {
            assert!(!s.path(name).exists(), "{name} is left");
        }
    }

    #[test]
    fn supervisor_without_a_worker_ends_after_the_start_attempts() {
        let s = start(&["--interval=2", "--start-attempts=2"], FAILS_ON_DEMAND);
        let first = s.wait_generation(1);
        s.write("fail", "");
        first.signal(Signal::SIGKILL);
        s.wait_line(&format!(
            "worker {first} died unexpectedly with status:9, restarting"
        ));
        s.expect_exit(1);
        assert_eq!(s.started().len(), 3);
    }

    #[test]
    fn crashed_worker_is_replaced_at_once_then_with_growing_pauses() {
        let s = start(&[], SLEEPS);
        let pauses = [0, 200, 400, 800].map(Duration::from_millis);
        for (generation, pause) in (1..).zip(pauses) {
            let worker = s.wait_generation(generation);
            let killed = Instant::now();
            worker.signal(Signal::SIGKILL);
            s.wait_line(&format!(
                "worker {worker} died unexpectedly with status:9, restarting"
            ));
            s.wait_new_worker();
            assert!(
                killed.elapsed() >= pause,
                "crash {generation} answered after {:?}",
                killed.elapsed()
            );
        }
        s.wait_generation(5);
        s.stop();
    }

    #[test]
    fn status_file_is_empty_while_no_worker_lives() {
        let s = start(&[], SLEEPS);
        // the pause after the fifth crash in a row is 1.6 s
        (1..=5).for_each(|generation| s.wait_generation(generation).signal(Signal::SIGKILL));
        s.eventually("the status file is empty", || {
            s.path("status")
                .metadata()
                .is_ok_and(|file| file.len() == 0)
        });
        s.wait_generation(6);
        s.stop();
    }

    #[test]
    fn hup_ends_the_pause() {
        let s = start(&[], SLEEPS);
        let begin = Instant::now();
        // without the HUPs the pauses would add up to 0.2 + 0.4 + … + 25.6 = 51 s
        while s
            .lines()
            .iter()
            .filter(|line| line.contains("died unexpectedly"))
            .count()
            < 9
        {
            s.eventually("one worker serves", || s.status().len() == 1);
            let (generation, worker) = s.status()[0];
            s.wait_up(generation);
            worker.signal(Signal::SIGKILL);
            s.eventually("the worker is dead", || !worker.is_alive());
            s.hup();
            s.eventually("another worker runs", || {
                s.status().iter().any(|entry| entry.1 != worker)
            });
        }
        assert!(
            begin.elapsed() < Duration::from_secs(40),
            "nine crashes took {:?}",
            begin.elapsed()
        );
        s.stop();
    }

    #[test]
    fn term_during_the_pause_stops_at_once() {
        let s = start(&[], SLEEPS);
        for generation in 1..=5 {
            let worker = s.wait_generation(generation);
            worker.signal(Signal::SIGKILL);
            s.wait_line(&format!(
                "worker {worker} died unexpectedly with status:9, restarting"
            ));
        }
        s.term();
        s.expect_exit(0);
        s.wait_line("exiting");
    }

    #[test]
    fn idle_supervisor_does_not_wake_up() {
        let s = start(&["--port=127.0.0.1:PORT", "--pid-file=DIR/pid"], SLEEPS);
        s.settle();
        let wake_ups = || s.process().status("voluntary_ctxt_switches");
        let before = wake_ups();
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(wake_ups(), before, "the idle supervisor woke up");
        s.stop();
    }
}
