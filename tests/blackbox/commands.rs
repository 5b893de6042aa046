//! `--restart` and `--stop` by the pid file and the status file.

use nix::sys::signal::Signal;
use server_starter_testing::wait_for;
use server_starter_testing::workers::{SLEEPS, STUBBORN};

use crate::fixtures::{bare_supervisor, start, supervisor};

const PID_FILE: &str = "--pid-file=DIR/pid";
const RESTART: [&str; 3] = ["--restart", PID_FILE, "--status-file=DIR/status"];
const STOP: [&str; 2] = ["--stop", PID_FILE];

#[test]
fn restart_returns_when_a_new_generation_has_taken_over() {
    let s = start(&[PID_FILE], SLEEPS);
    let first = s.wait_generation(1);
    s.command(&RESTART).expect(0, &[]);
    let status = s.status();
    assert!(
        status.len() == 1 && status[0].0 == 2 && status[0].1 != first,
        "{status:?}"
    );
    s.wait_up(2);
    s.command(&RESTART).expect(0, &[]);
    assert_eq!(s.wait_generation(3), s.status()[0].1);
    s.stop();
}

#[test]
fn restart_waits_for_the_old_generation_to_leave() {
    let s = start(&[PID_FILE], STUBBORN);
    let first = s.wait_generation(1);
    s.settle();
    let mut restart = s.spawn_command(&RESTART);
    let second = s.wait_generations(&[1, 2])[1];
    assert!(restart.exited().is_none(), "the command did not wait");
    s.settle();
    first.signal(Signal::SIGKILL);
    restart.wait().expect(0, &[]);
    assert_eq!(s.status(), [(2, second)]);
    s.settle();
    s.term();
    s.wait_line_starting("received TERM");
    second.signal(Signal::SIGKILL);
    s.expect_exit(0);
}

#[test]
fn restart_without_both_files_is_a_usage_error() {
    for options in [
        &["--restart"][..],
        &["--restart", "--pid-file=pid"],
        &["--restart", "--status-file=status"],
    ] {
        bare_supervisor(options)
            .run()
            .expect_failure(&["--restart", "--pid-file"]);
    }
}

#[test]
fn restart_without_a_supervisor_fails() {
    let failed = bare_supervisor(&RESTART).run();
    failed.expect_failure(&["/pid"]);
}

#[test]
fn stop_returns_when_the_supervisor_has_left() {
    let s = start(&[PID_FILE], SLEEPS);
    let worker = s.wait_generation(1);
    let stop = s.command(&STOP);
    stop.expect(0, &[]);
    let line = format!(
        "stop_server (pid:{}) stopping now (pid:{})...",
        stop.pid(),
        s.process()
    );
    assert_eq!(stop.stderr.lines().next(), Some(line.as_str()));
    assert!(!s.path("pid").exists() && !worker.is_alive());
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    s.expect_exit(0);
}

#[test]
fn stop_waits_for_the_workers() {
    let s = start(&[PID_FILE], STUBBORN);
    let worker = s.wait_generation(1);
    s.settle();
    let mut stop = s.spawn_command(&STOP);
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    assert!(stop.exited().is_none(), "the command did not wait");
    worker.signal(Signal::SIGKILL);
    stop.wait().expect(0, &[]);
    s.expect_exit(0);
}

#[test]
fn stop_without_a_pid_file_is_a_usage_error() {
    bare_supervisor(&["--stop"])
        .run()
        .expect_failure(&["--stop", "--pid-file"]);
}

#[test]
fn stop_without_a_supervisor_fails() {
    bare_supervisor(&STOP).run().expect_failure(&["/pid"]);
}

#[test]
fn daemon_can_be_restarted_and_stopped() {
    let options = ["--daemonize", "--log-file=DIR/log", PID_FILE];
    let (_, s) = supervisor(&options).log("log").sh(SLEEPS).daemonize();
    s.wait_generation(1);
    s.command(&RESTART).expect(0, &[]);
    s.wait_generation(2);
    s.command(&STOP).expect(0, &[]);
    wait_for(|| s.exited()).expect("the daemon still runs");
    assert!(!s.path("pid").exists());
}

mod extensions {
    use std::process::Stdio;

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS, STUBBORN};

    use super::{PID_FILE, RESTART, STOP};
    use crate::fixtures::{Bystander, bare_supervisor, start};

    #[test]
    fn usage_errors_exit_2() {
        for options in [
            &["--restart"][..],
            &["--restart", "--pid-file=pid"],
            &["--restart", "--status-file=status"],
            &["--stop"],
            &[
                "--restart",
                "--pid-file=pid",
                "--status-file=status",
                "--until=never",
            ],
            &[
                "--restart",
                "--pid-file=pid",
                "--status-file=status",
                "--timeout=soon",
            ],
            &[
                "--restart",
                "--stop",
                "--pid-file=pid",
                "--status-file=status",
            ],
        ] {
            bare_supervisor(options).run().expect(2, &["--"]);
        }
    }

    #[test]
    fn missing_pid_file_means_that_no_supervisor_runs() {
        bare_supervisor(&RESTART).run().expect(3, &["/pid"]);
        bare_supervisor(&STOP).run().expect(3, &["/pid"]);
    }

    #[test]
    fn stale_pid_is_not_signalled() {
        let bystander = Bystander::start(Stdio::null());
        for command in [&RESTART[..], &STOP] {
            let stale = bare_supervisor(command)
                .file("pid", &format!("{}\n", bystander.process()))
                .file("status", &format!("1:{}\n", bystander.process()))
                .run();
            stale.expect(3, &["/pid"]);
            bystander.expect_unharmed();
        }
    }

    #[test]
    fn empty_or_invalid_pid_file_signals_no_process() {
        for content in [
            "",
            "\n",
            "0\n",
            "-1\n",
            "1\n",
            "no pid\n",
            "99999999999999999999\n",
        ] {
            for command in [&RESTART[..], &STOP] {
                let builder = bare_supervisor(command)
                    .file("pid", content)
                    .file("status", "1:1\n");
                let finished = builder.run();
                assert!(
                    finished.code().is_some_and(|code| code == 1 || code == 3),
                    "{content:?}: {finished}"
                );
            }
        }
    }

    #[test]
    fn pid_of_a_crashed_supervisor_is_not_signalled() {
        let s = start(&[PID_FILE], SLEEPS);
        s.settle();
        s.process().signal(Signal::SIGKILL);
        s.wait_exit();
        let bystander = Bystander::start(Stdio::null());
        // the number of the supervisor was given to another process
        s.write("pid", &format!("{}\n", bystander.process()));
        s.spawn_command(&STOP).wait().expect(3, &["/pid"]);
        s.spawn_command(&RESTART).wait().expect(3, &["/pid"]);
        bystander.expect_unharmed();
    }

    #[test]
    fn until_ready_does_not_wait_for_the_old_generation() {
        let s = start(&[PID_FILE, "--signal-on-term=KILL"], STUBBORN);
        s.wait_generation(1);
        let restart = s.command(&[
            "--restart",
            PID_FILE,
            "--status-file=DIR/status",
            "--until=ready",
        ]);
        restart.expect(0, &[]);
        s.wait_generations(&[1, 2]);
        s.stop();
    }

    #[test]
    fn until_drained_is_the_default() {
        let s = start(&[PID_FILE], SLEEPS);
        let restart = s.command(&[
            "--restart",
            PID_FILE,
            "--status-file=DIR/status",
            "--until=drained",
        ]);
        restart.expect(0, &[]);
        assert_eq!(s.status().len(), 1);
        s.wait_up(2);
        s.stop();
    }

    #[test]
    fn restart_succeeds_after_failed_attempts() {
        let worker = "up; if [ $SERVER_STARTER_GENERATION = 2 ]; then exit 1; fi; exec sleep 1000";
        let s = start(&[PID_FILE, "--interval=2"], worker);
        s.command(&RESTART).expect(0, &[]);
        s.wait_generation(3);
        s.stop();
    }

    #[test]
    fn restart_times_out_when_no_worker_becomes_ready() {
        let s = start(&[PID_FILE, "--interval=2"], FAILS_ON_DEMAND);
        let first = s.wait_generation(1);
        s.write("fail", "");
        let restart = s.command(&[
            "--restart",
            PID_FILE,
            "--status-file=DIR/status",
            "--timeout=3",
        ]);
        restart.expect(4, &[]);
        assert_eq!(s.status(), [(1, first)]);
        assert!(s.exited().is_none());
        s.stop();
    }

    #[test]
    fn restart_times_out_when_an_old_worker_stays() {
        let s = start(&[PID_FILE, "--signal-on-term=KILL"], STUBBORN);
        let restart = s.command(&[
            "--restart",
            PID_FILE,
            "--status-file=DIR/status",
            "--timeout=500ms",
        ]);
        restart.expect(4, &[]);
        s.wait_generations(&[1, 2]);
        s.stop();
    }

    #[test]
    fn stop_times_out_when_a_worker_stays() {
        let s = start(&[PID_FILE], STUBBORN);
        let worker = s.wait_generation(1);
        s.command(&["--stop", PID_FILE, "--timeout=0.5"])
            .expect(4, &[]);
        assert!(worker.is_alive() && s.exited().is_none());
        worker.signal(Signal::SIGKILL);
        s.expect_exit(0);
    }

    #[test]
    fn restart_fails_when_the_supervisor_dies() {
        let s = start(&[PID_FILE, "--interval=2"], FAILS_ON_DEMAND);
        s.write("fail", "");
        s.settle();
        let restart = s.spawn_command(&RESTART);
        s.wait_line("received HUP, spawning a new worker");
        s.process().signal(Signal::SIGKILL);
        s.wait_exit();
        restart.wait().expect(3, &[]);
    }

    #[test]
    fn restart_fails_when_the_supervisor_is_stopped() {
        let s = start(&[PID_FILE, "--interval=2"], FAILS_ON_DEMAND);
        s.write("fail", "");
        s.settle();
        let restart = s.spawn_command(&RESTART);
        s.wait_line("received HUP, spawning a new worker");
        s.term();
        assert_eq!(s.wait_exit().code(), Some(0));
        restart.wait().expect(3, &[]);
    }

    #[test]
    fn restart_fails_when_the_supervisor_gives_up() {
        let s = start(
            &[PID_FILE, "--interval=2", "--start-attempts=1"],
            FAILS_ON_DEMAND,
        );
        let first = s.wait_generation(1);
        s.write("fail", "");
        let options = [
            "--restart",
            PID_FILE,
            "--status-file=DIR/status",
            "--timeout=4",
        ];
        let restart = s.command(&options);
        // The files do not show a failed reload: it is a failure (1) or a time-out (4).
        assert!(matches!(restart.code(), Some(1 | 4)), "{restart}");
        assert_eq!(s.status(), [(1, first)]);
        s.stop();
    }

    #[test]
    fn restart_during_a_reload_waits_for_a_further_generation() {
        let s = start(&[PID_FILE, "--interval=2"], SLEEPS);
        s.wait_generation(1);
        s.hup();
        s.wait_up(2);
        s.command(&RESTART).expect(0, &[]);
        s.eventually("one generation is left", || s.status().len() == 1);
        s.wait_generation(3);
        s.stop();
    }
}
