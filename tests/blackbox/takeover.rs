//! A supervisor that was killed, and another one that is started in its place: it takes the workers and their sockets
//! over.

use server_starter_testing::{Process, Supervisor};

pub(crate) const PORT: &str = "--port=127.0.0.1:PORT";

/// Waits for the end of a worker that was taken over: its wait status is not the supervisor's to know.
#[track_caller]
pub(crate) fn wait_old_died(s: &Supervisor, worker: Process) {
    s.wait_line(&format!("old worker {worker} died, status:unknown"));
}

mod extensions {
    use std::process::{Command, Stdio};

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{GRACEFUL, SLEEPS, STUBBORN};
    use server_starter_testing::{
        Client, HttpLoad, OTHER_USER, PidNamespace, Process, Supervisor, control, expect, exports,
        other_user_is_available, skipped,
    };

    use super::{PORT, wait_old_died};
    use crate::fixtures::{CONTROL, NOTIFY, UPGRADE, start, start_hello, supervisor};

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
        let second = s.command(&["--status-file=DIR/status", PORT, "--", "sleep", "1000"]);
        second.expect(1, &["a running supervisor keeps it"]);
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
    fn workers_of_another_user_are_taken_over_by_root() {
        if !other_user_is_available() {
            return;
        }
        let mut s = supervisor(&[PORT, "--user=4242", "--group=4242"])
            .program(["--", "sleep", "1000"])
            .start();
        take_over(&mut s, 1);
        s.stop();
    }

    #[test]
    fn a_supervisor_that_is_not_root_takes_over() {
        if !other_user_is_available() {
            return;
        }
        let mut s = supervisor(&[PORT, "--path=DIR/a.sock"])
            .shared_directory("")
            .as_user(OTHER_USER)
            .program(["--", "sleep", "1000"])
            .start();
        take_over(&mut s, 1);
        s.stop();
    }

    #[test]
    fn the_children_of_a_worker_are_killed_with_it() {
        let worker = "trap '' TERM; up; sh -c 'trap \"\" TERM; echo $$ >child; exec sleep 1000'";
        let mut s = start(&[PORT, "--stop-timeout=0.2"], worker);
        let old = s.wait_generation(1);
        let child = || s.read("child").trim().parse().ok().map(Process);
        let child = expect("it has a child", child);
        s.kill_and_start_again();
        wait_old_died(&s, old);
        s.eventually("the child is dead", || !child.is_alive());
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_worker_is_recognised_by_a_path_whose_file_is_gone() {
        let mut s = start(&["--path=DIR/a.sock"], SLEEPS);
        let old = s.wait_generation(1);
        s.kill();
        std::fs::remove_file(s.path("a.sock")).unwrap();
        s.start_again();
        wait_old_died(&s, old);
        let new = s.wait_generation(2);
        assert_ne!(old.descriptors().get(&3), new.descriptors().get(&3));
        assert!(s.path("a.sock").exists(), "it is bound anew");
        s.stop();
    }

    /// The first supervisor is a child of process 1, which becomes the second one.
    #[test]
    fn a_worker_that_is_a_child_nevertheless_has_a_wait_status() {
        if !PidNamespace::is_available() {
            return;
        }
        let first = r#"set -- sh -c '"$@" & until [ -s "$DIR/status" ]; do sleep 0.02; done
            kill -9 $!; wait $!; exec "$@"' sh "$@""#;
        let s = supervisor(&[PORT])
            .before(first)
            .process_1()
            .program(["--", "sleep", "1000"])
            .spawn();
        let old = s.wait_line_starting("taking over 1 worker of a supervisor that was killed: 1:");
        s.wait_line(&format!(
            "old worker {old} died, status:15 (killed by TERM)"
        ));
        s.stop();
    }
}
