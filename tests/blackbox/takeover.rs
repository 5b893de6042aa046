//! A supervisor that was killed, and another one that is started in its place: it takes the workers and their sockets
//! over.

mod extensions {
    use std::process::{Command, Stdio};

    use nix::sys::signal::Signal;

    use server_starter_testing::workers::{FAILS_ON_DEMAND, GRACEFUL, SLEEPS, STUBBORN};
    use server_starter_testing::{
        Client, HttpLoad, Process, Supervisor, control, exports, other_user_is_available, skipped,
    };

    use crate::fixtures::{
        CONTROL, NOTIFY, UPGRADE, bare_supervisor, start, start_hello, supervisor,
    };

    const PORT: &str = "--port=127.0.0.1:PORT";

    /// Neither the parent of an orphan nor its wait status is ours.
    #[track_caller]
    fn wait_old_died(s: &Supervisor, worker: Process) {
        s.wait_line(&format!("old worker {worker} died, status:unknown"));
    }

    /// Kills the supervisor, whose only worker is this one, starts it again, and waits for the new generation.
    #[track_caller]
    fn take_over(s: &mut Supervisor, generation: u32) -> Process {
        let old = s.wait_generation(generation);
        s.kill_and_start_again();
        s.wait_line(&format!(
            "taking over 1 worker of a supervisor that was killed: {generation}:{old}"
        ));
        let new = s.wait_new_worker();
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{old}"
        ));
        wait_old_died(s, old);
        assert_eq!(s.wait_generation(generation + 1), new);
        new
    }

    #[test]
    fn no_request_fails_under_load_across_two_kills_in_a_row() {
        let options = [
            "--interval=0.2",
            PORT,
            "--path=DIR/a.sock",
            "--pid-file=DIR/pid",
        ];
        let mut s = start_hello(&options);
        let unix = Client::Unix(s.path("a.sock"));
        let loads = [s.client(), unix.clone()].map(|client| HttpLoad::start(&client, || ()));
        for generation in [1, 2] {
            take_over(&mut s, generation);
            loads.iter().for_each(|load| load.wait_answers(100));
        }
        for load in loads {
            load.stop().expect_no_failure();
        }
        let third = s.wait_generation(3);
        assert_eq!(s.client().hello(), (3, third));
        assert_eq!(unix.hello(), (3, third));
        s.stop();
        for file in ["a.sock", "pid", "status"] {
            assert!(!s.path(file).exists(), "{file}");
        }
    }

    #[test]
    fn sockets_stay_the_same_and_are_exported_as_before() {
        let options = [PORT, "--port=127.0.0.1:uPORT2=7", "--path=DIR/a.sock"];
        let mut s = start(&options, SLEEPS);
        let old = s.wait_generation(1);
        let before = (exports(old), old.descriptors());
        let new = take_over(&mut s, 1);
        let after = new.descriptors();
        assert_eq!(exports(new), before.0);
        for fd in [3, 4, 7] {
            assert_eq!(after.get(&fd), before.1.get(&fd), "descriptor {fd}");
        }
        let own = s.process().descriptors();
        let pidfds = own.values().filter(|it| it.contains("pidfd"));
        assert_eq!(
            pidfds.count(),
            0,
            "that of a worker that has ended is closed"
        );
        s.stop();
    }

    #[test]
    fn workers_of_two_generations_are_replaced_together() {
        let mut s = start(&[PORT], "trap 'test -e \"$DIR/go\" && exit' TERM; up; rest");
        s.wait_generation(1);
        s.hup();
        let old = s.wait_generations(&[1, 2]);
        s.settle();
        s.kill();
        s.write("go", "");
        s.start_again();
        s.wait_line(&format!(
            "taking over 2 workers of a supervisor that was killed: 1:{} 2:{}",
            old[0], old[1]
        ));
        let mut told = s.wait_pids("new worker is now running, sending TERM to old workers:");
        told.sort();
        let mut expected = old.clone();
        expected.sort();
        assert_eq!(told, expected);
        s.wait_generation(3);
        s.stop();
    }

    #[test]
    fn a_worker_that_ignores_its_signal_is_killed_after_the_stop_timeout() {
        let mut s = start(&[PORT, "--stop-timeout=0.2"], STUBBORN);
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_line(&format!(
            "worker {old} is still there after 0.2 s, sending KILL"
        ));
        wait_old_died(&s, old);
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_stop_before_the_first_readiness_reaches_the_old_workers() {
        let options = [PORT, "--path=DIR/a.sock", NOTIFY[0], NOTIFY[1]];
        let mut s = supervisor(&options).sh(SLEEPS).spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        let new = s.wait_up(2);
        assert_eq!(s.status(), [(1, old)], "it is listed from the start");
        s.term();
        let told = s.wait_pids("received TERM, sending TERM to all workers:");
        assert!(told.contains(&old) && told.contains(&new), "{told:?}");
        s.expect_exit(0);
        assert!(!s.path("status").exists() && !s.path("a.sock").exists());
    }

    #[test]
    fn a_worker_that_dies_before_the_first_readiness_is_gone() {
        let mut s = supervisor(&[PORT, NOTIFY[0], NOTIFY[1]]).sh(SLEEPS).spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        let notify = s.wait_notifying(2).1;
        old.signal(Signal::SIGKILL);
        wait_old_died(&s, old);
        notify.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn workers_serve_on_when_the_first_generation_fails_and_the_next_start_takes_them_over() {
        let options = [
            PORT,
            "--path=DIR/a.sock",
            "--interval=0.3",
            "--start-attempts=2",
            "--stop-timeout=1",
        ];
        let mut s = start(&options, FAILS_ON_DEMAND);
        let old = s.wait_generation(1);
        s.kill();
        s.write("fail", "");
        s.start_again();
        s.wait_line("giving up after 2 attempts, generation 1 keeps serving");
        s.wait_line(&format!("without a supervisor serve on:{old}"));
        assert_eq!(s.wait_exit().code(), Some(1));
        assert!(old.is_alive());
        assert_eq!(s.status(), [(1, old)]);
        assert!(s.path("a.sock").exists());

        std::fs::remove_file(s.path("fail")).unwrap();
        s.start_again();
        s.wait_generation(2);
        wait_old_died(&s, old);
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn a_start_that_cannot_be_made_leaves_the_workers_and_their_files_alone() {
        let mut s = start(&[PORT, "--path=DIR/a.sock"], SLEEPS);
        let old = s.wait_generation(1);
        s.kill();
        let options = ["--status-file=DIR/status", PORT, "--path=DIR/a.sock"];
        for (more, worker, why) in [
            (
                "--interval=0",
                "/nonexistent",
                "failed to exec /nonexistent",
            ),
            (
                "--control=/nonexistent/control",
                "/bin/true",
                "/nonexistent/control",
            ),
        ] {
            let arguments = [&options[..], &[more, "--", worker]].concat();
            s.command(&arguments).expect(1, &[why]);
            assert!(old.is_alive());
            assert_eq!(s.status(), [(1, old)]);
            assert!(s.path("a.sock").exists());
        }
        s.start_again();
        s.wait_generation(2);
        wait_old_died(&s, old);
        s.stop();
    }

    #[test]
    fn the_status_says_which_workers_were_taken_over() {
        let mut s = supervisor(&[PORT, CONTROL, NOTIFY[0], NOTIFY[1]])
            .sh(SLEEPS)
            .spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        let notify = s.wait_notifying(2).1;
        let status = control::status(s.path("control")).unwrap();
        let workers = status["workers"].as_array().unwrap();
        let adopted = workers.iter().map(|worker| worker["adopted"].as_bool());
        assert_eq!(
            adopted.collect::<Vec<_>>(),
            [Some(true), Some(false)],
            "{status}"
        );
        assert_eq!(workers[0]["pid"], old.0);
        let text = s.command(&["--status", CONTROL]);
        text.expect(0, &[]);
        let line = format!("generation 1: worker {old}, taken over, ready for ");
        assert!(text.stdout.contains(&line), "{}", text.stdout);
        let metrics = s.command(&["--status", "--metrics", CONTROL]);
        let line = "start_server_adopted_workers 1\n";
        assert!(metrics.stdout.contains(line), "{}", metrics.stdout);
        notify.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn an_upgrade_keeps_what_was_taken_over() {
        let mut s = supervisor(&[PORT, "--path=DIR/a.sock", CONTROL, NOTIFY[0], NOTIFY[1]])
            .copied()
            .sh(SLEEPS)
            .spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        let notify = s.wait_notifying(2).1;
        s.command(&UPGRADE).expect(0, &[]);
        let status = control::status(s.path("control")).unwrap();
        assert_eq!(status["workers"][0]["adopted"], true, "{status}");
        notify.send("READY=1");
        wait_old_died(&s, old);
        s.wait_generation(2);
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn a_restart_waits_until_a_worker_that_was_taken_over_has_gone() {
        let mut s = start(&[PORT, CONTROL], GRACEFUL);
        let old = s.wait_generation(1);
        old.signal(Signal::SIGSTOP); // it does not leave
        s.kill_and_start_again();
        s.wait_generations(&[1, 2]);
        let restart = s.spawn_command(&["--restart", CONTROL]);
        s.wait_generations(&[1, 3]);
        old.signal(Signal::SIGCONT);
        restart.wait().expect(0, &["generation 3 is alone"]);
        assert!(!old.is_alive());
        s.stop();
    }

    #[test]
    fn a_daemon_takes_over_from_a_daemon() {
        let options = [
            "--daemonize",
            "--log-file=DIR/log",
            "--pid-file=DIR/pid",
            PORT,
        ];
        let (_, mut s) = supervisor(&options).log("log").sh(SLEEPS).daemonize();
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        wait_old_died(&s, old);
        s.wait_generation(2);
        s.stop();
    }

    /// As Go's net.FileListener does, which duplicates what it is given and closes that.
    #[test]
    fn a_socket_is_found_on_another_number() {
        let mut s = start(
            &[PORT, "--path=DIR/a.sock"],
            "exec 7<&3 8<&4 3<&- 4<&-; up; exec sleep 1000",
        );
        take_over(&mut s, 1);
        s.stop();
    }

    #[test]
    fn a_worker_with_a_title_over_its_environment_is_recognised() {
        if Command::new("perl")
            .arg("-v")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            return skipped("a worker that writes its title over its environment needs perl");
        }
        let perl = r#"exec perl -e '$0 = "worker"; sleep 1000'"#;
        let mut s = supervisor(&[PORT])
            .program(["--", "/bin/sh", "-c", perl])
            .start();
        let old = s.wait_generation(1);
        s.eventually("its environment is overwritten", || {
            old.read("environ").trim_end_matches(['\0', ' ']).is_empty()
        });
        take_over(&mut s, 1);
        s.stop();
    }

    #[test]
    fn a_worker_that_has_closed_the_socket_is_left_alone() {
        let mut s = start(&[PORT], "exec 3<&-; up; exec sleep 1000");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_line(&format!(
            "process {old}, generation 1 in the status file, is left alone: it listens on no address"
        ));
        s.wait_generation(1);
        assert!(old.is_alive());
        s.hup();
        s.wait_generation(2);
        assert!(old.is_alive());
        old.signal(Signal::SIGKILL);
        s.stop();
    }

    #[test]
    fn a_worker_that_was_not_ready_yet_is_left_alone_and_named() {
        let mut s = supervisor(&[PORT, NOTIFY[0], NOTIFY[1]]).sh(SLEEPS).spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.hup();
        let lost = s.wait_up(2);
        s.settle();
        s.kill_and_start_again();
        s.wait_line_starting("taking over 1 worker of a supervisor that was killed: 1:");
        s.wait_line(&format!(
            "process {lost} (sleep) holds a socket that was taken over, and"
        ));
        s.wait_notifying(3).1.send("READY=1");
        wait_old_died(&s, old);
        s.wait_generation(3);
        assert!(lost.is_alive());
        lost.signal(Signal::SIGKILL);
        s.stop();
    }

    #[test]
    fn without_a_status_file_the_error_names_who_holds_the_address() {
        let mut s = bare_supervisor(&["--interval=0", PORT]).sh(SLEEPS).spawn();
        let old = s.wait_up(1);
        s.settle();
        s.kill_and_start_again();
        s.wait_line_starting("start_server: failed to bind to 127.0.0.1:");
        assert_eq!(s.wait_exit().code(), Some(1));
        let held =
            format!("held by process {old} (sleep): a worker of a supervisor that was killed.");
        assert!(s.log().contains(&held), "{}", s.log());
        assert!(
            s.log().contains(&format!("kill -TERM {old}")),
            "{}",
            s.log()
        );
        assert!(old.is_alive());
    }

    /// A worker of another user, and a supervisor without CAP_SYS_PTRACE; Yama and seccomp say no in the same way.
    #[test]
    fn what_the_kernel_forbids_is_left_alone_and_the_error_names_it() {
        if !other_user_is_available() {
            return;
        }
        let mut s = supervisor(&[PORT, "--user=4242", "--group=4242"])
            .before("set -- setpriv --bounding-set=-sys_ptrace \"$@\"")
            .program(["--", "sleep", "1000"])
            .start();
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_line_starting("start_server: failed to bind to 127.0.0.1:");
        assert_eq!(s.wait_exit().code(), Some(1));
        for words in [
            "cannot be taken over (",
            "Permission denied)",
            &format!("kill -TERM {old}"),
        ] {
            assert!(s.log().contains(words), "{words}: {}", s.log());
        }
        assert!(old.is_alive());
        assert_eq!(s.status(), [(1, old)]);
    }
}
