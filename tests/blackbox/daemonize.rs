//! `--daemonize`: the supervisor in the background, and the exit status of its caller.

use nix::sys::signal::Signal;
use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{Process, SupervisorBuilder, exports};

use crate::fixtures::{bare_supervisor, supervisor};

/// A daemon with its log in `DIR/log` and its pid in `DIR/pid`.
fn daemon(options: &[&str]) -> SupervisorBuilder {
    let all = [
        &["--daemonize", "--log-file=DIR/log", "--pid-file=DIR/pid"],
        options,
    ]
    .concat();
    supervisor(&all).log("log")
}

#[test]
fn daemon_runs_in_the_background() {
    let (caller, s) = daemon(&[]).sh(SLEEPS).daemonize();
    let worker = s.wait_generation(1);
    assert_ne!(s.process(), caller.pid());
    assert_eq!(worker.parent(), Some(s.process()));
    s.wait_line(&format!("starting new worker {worker}"));
    s.hup();
    s.wait_generation(2);
    s.stop();
    s.wait_line("exiting");
    assert!(!s.path("pid").exists() && !s.path("status").exists());
}

#[test]
fn daemon_has_a_session_of_its_own_without_leading_it() {
    let (_, s) = daemon(&[]).sh(SLEEPS).daemonize();
    s.wait_generation(1);
    let mine = Process(std::process::id().try_into().unwrap()).session();
    assert_ne!(s.process().session(), mine);
    assert_ne!(
        s.process().session(),
        Some(s.process()),
        "a session leader could acquire a terminal"
    );
    s.stop();
}

#[test]
fn standard_input_of_a_daemon_is_dev_null() {
    let builder = daemon(&[]).file("input", "").sh(SLEEPS);
    let input = std::fs::File::open(builder.path("input")).unwrap();
    let (_, s) = builder.stdin(input).daemonize();
    let worker = s.wait_generation(1);
    assert_eq!(worker.descriptors()[&0], "/dev/null");
    assert_eq!(s.process().descriptors()[&0], "/dev/null");
    s.stop();
}

#[test]
fn socket_on_descriptor_0_is_kept_by_a_daemon() {
    let (_, s) = daemon(&["--port=127.0.0.1:PORT=0"]).sh(SLEEPS).daemonize();
    let address = format!("127.0.0.1:{}", s.port(0));
    assert_eq!(
        exports(s.wait_generation(1)),
        [(address.clone(), 0, format!("tcp {address}"))]
    );
    s.stop();
}

#[test]
fn output_of_a_daemon_goes_to_the_log() {
    let (caller, s) = daemon(&[])
        .sh("echo hello; up; exec sleep 1000")
        .daemonize();
    s.wait_output("hello");
    s.wait_generation(1);
    assert_eq!(caller.stdout, "");
    s.stop();
}

#[test]
fn sockets_stay_open_after_the_caller_has_exited() {
    let (_, s) = daemon(&["--path=DIR/a.sock", "--port=127.0.0.1:PORT"])
        .sh(SLEEPS)
        .daemonize();
    s.wait_generation(1);
    std::os::unix::net::UnixStream::connect(s.path("a.sock")).unwrap();
    s.stop();
    assert!(!s.path("a.sock").exists());
}

#[test]
fn daemon_replaces_a_crashed_worker() {
    let (_, s) = daemon(&[]).sh(SLEEPS).daemonize();
    let worker = s.wait_generation(1);
    s.settle();
    worker.signal(Signal::SIGKILL);
    s.wait_line(&format!(
        "worker {worker} died unexpectedly with status:9, restarting"
    ));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn daemonize_without_a_log_file_is_refused() {
    bare_supervisor(&["--daemonize"])
        .program(["--", "true"])
        .run()
        .expect_failure(&["--log-file"]);
}

#[test]
fn caller_fails_when_the_start_fails_before_the_first_worker() {
    let options = [
        "--daemonize",
        "--log-file=DIR/log",
        "--port=127.0.0.1:PORT",
        "--path=DIR/missing/a.sock",
    ];
    supervisor(&options)
        .program(["--", "true"])
        .run()
        .expect_failure(&["missing/a.sock"]);
}

mod extensions {
    use std::time::{Duration, Instant};

    use server_starter_testing::workers::{FAILS, SLEEPS};
    use server_starter_testing::{Output, eventually};

    use super::daemon;
    use crate::fixtures::bare_supervisor;

    /// A failed start has left no process and no file.
    #[track_caller]
    fn nothing_is_left(failed: &Output) {
        // the process that would be the daemon reports its failure just before it exits
        eventually("no process is left", || failed.survivors().is_empty());
        for name in ["pid", "status", "a.sock"] {
            assert!(!failed.path(name).exists(), "{name} is left\n{failed}");
        }
    }

    #[test]
    fn daemonize_without_a_log_file_is_a_usage_error() {
        bare_supervisor(&["--daemonize"])
            .program(["--", "true"])
            .run()
            .expect(2, &["--log-file"]);
    }

    #[test]
    fn caller_returns_when_the_first_generation_is_ready() {
        let start = Instant::now();
        let (_, s) = daemon(&["--interval=2"]).sh(SLEEPS).daemonize();
        assert!(
            start.elapsed() >= Duration::from_secs(2),
            "returned after {:?}",
            start.elapsed()
        );
        // without a wait: status file and pid file are complete
        assert_eq!(s.status(), [(1, s.started()[0])]);
        assert_eq!(s.read("pid"), format!("{}\n", s.process()));
        s.stop();
    }

    #[test]
    fn caller_fails_when_the_first_generation_fails() {
        let failed = daemon(&["--interval=2", "--path=DIR/a.sock"])
            .sh(FAILS)
            .run();
        failed.expect_failure(&["exit status:256"]);
        nothing_is_left(&failed);
    }

    #[test]
    fn caller_waits_for_all_start_attempts() {
        let failed = daemon(&["--interval=2", "--start-attempts=2"])
            .sh(FAILS)
            .run();
        failed.expect_failure(&[]);
        nothing_is_left(&failed);
        let log = std::fs::read_to_string(failed.path("log")).unwrap();
        assert_eq!(
            log.matches("seems to have failed to start").count(),
            2,
            "{log}"
        );
    }

    #[test]
    fn caller_succeeds_when_the_second_attempt_succeeds() {
        let worker = "up; if [ $SERVER_STARTER_GENERATION = 1 ]; then exit 1; fi; exec sleep 1000";
        let (_, s) = daemon(&["--interval=2", "--start-attempts=2"])
            .sh(worker)
            .daemonize();
        assert_eq!(s.status().first().map(|entry| entry.0), Some(2));
        s.stop();
    }

    #[test]
    fn caller_fails_when_the_program_is_missing() {
        let failed = daemon(&["--path=DIR/a.sock"])
            .program(["--", "/no/such/program"])
            .run();
        failed.expect(1, &["/no/such/program", "No such file or directory"]);
        nothing_is_left(&failed);
    }

    #[test]
    fn caller_fails_when_the_pid_file_is_locked() {
        let (_, s) = daemon(&[]).sh(SLEEPS).daemonize();
        let second = s.command(&[
            "--daemonize",
            "--log-file=DIR/log2",
            "--pid-file=DIR/pid",
            "--",
            "sleep",
            "1000",
        ]);
        second.expect(
            1,
            &[
                "is locked by a running supervisor",
                &s.process().to_string(),
            ],
        );
        s.wait_generation(1);
        s.stop();
    }

    #[test]
    fn daemon_closes_the_descriptors_of_its_caller() {
        let (_, s) = daemon(&[]).sh(SLEEPS).daemonize();
        let held = s.process().descriptors();
        let callers = |target: &String| {
            ["stderr", "stdout"]
                .iter()
                .any(|name| *target == s.path(name).display().to_string())
        };
        assert!(
            !held.values().any(callers),
            "the output of the caller stays open: {held:#?}"
        );
        s.stop();
    }
}
