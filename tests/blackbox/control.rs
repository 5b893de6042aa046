//! The control socket: answers to clients, and clients that must not disturb others.

mod extensions {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use nix::sys::signal::Signal;
    use server_starter_testing::control::{call, receive};
    use server_starter_testing::skipped;
    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS, STUBBORN};
    use server_starter_testing::{Supervisor, connect_unix};

    use crate::fixtures::{CONTROL, bare_supervisor, start, supervisor};

    const RESTART: [&str; 2] = ["--restart", CONTROL];
    const STOP: [&str; 2] = ["--stop", CONTROL];
    const STATUS: [&str; 3] = ["--status", "--json", CONTROL];

    fn connect(s: &Supervisor) -> UnixStream {
        connect_unix(s.path("control")).unwrap()
    }

    /// The next message; `None` if the connection has ended.
    fn next_message(stream: &mut UnixStream) -> Option<String> {
        receive(stream).unwrap()
    }

    #[test]
    fn removed_socket_is_made_again_by_itself() {
        let s = start(&[CONTROL], SLEEPS);
        std::fs::remove_file(s.path("control")).unwrap();
        s.eventually("the socket is back", || {
            UnixStream::connect(s.path("control")).is_ok()
        });
        s.command(&["--status", CONTROL]).expect(0, &[]);
        s.stop();
    }

    #[test]
    fn socket_whose_directory_was_replaced_is_made_again_at_hup() {
        let builder = supervisor(&["--control=DIR/run/control"]).sh(SLEEPS);
        std::fs::create_dir(builder.path("run")).unwrap();
        let s = builder.start();
        std::fs::rename(s.path("run"), s.path("away")).unwrap();
        std::fs::create_dir(s.path("run")).unwrap();
        s.hup();
        s.wait_line(&format!(
            "the control socket {} was removed; made again",
            s.path("run/control").display()
        ));
        UnixStream::connect(s.path("run/control")).unwrap();
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn restart_reports_each_step_and_the_end() {
        let s = start(&[CONTROL], SLEEPS);
        let first = s.wait_generation(1);
        let words = [
            "generation 2: worker ".to_owned(),
            format!("generation 2 has taken over; old workers that finish what they have: {first}"),
            "generation 2 is alone".to_owned(),
        ];
        let words = words.each_ref().map(String::as_str);
        s.command(&RESTART).expect(0, &words);
        s.wait_generation(2);
        s.stop();
        assert!(!s.path("control").exists());
    }

    /// script(1) provides the terminal.
    #[test]
    fn restart_on_a_terminal_shows_its_progress_and_clears_the_line() {
        let s = start(&[CONTROL, "--interval=0.3"], SLEEPS);
        s.wait_generation(1);
        let (program, socket) = (s.program().path(), s.path("control"));
        let (program, socket) = (program.display(), socket.display());
        let command = format!("{program} --restart --control={socket}");
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        let Ok(output) = script.stdin(std::process::Stdio::null()).output() else {
            return skipped("a terminal needs script(1)");
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        for part in ["generation 2 is starting (", "generation 2 is alone"] {
            assert!(text.contains(part), "{part} in {text:?}");
        }
        assert!(text.ends_with("\r\x1b[K"), "{text:?}");
        s.stop();
    }

    #[test]
    fn until_ready_does_not_wait_for_old_workers() {
        let s = start(&[CONTROL], STUBBORN);
        let first = s.wait_generation(1);
        s.settle();
        s.command(&["--restart", "--until=ready", CONTROL])
            .expect(0, &[]);
        let second = s.wait_generations(&[1, 2])[1];
        let timed_out = s.command(&["--restart", "--timeout=0.3", CONTROL]);
        timed_out.expect(4, &["old ones are still there", &first.to_string()]);
        for worker in [first, second, s.wait_generations(&[1, 2, 3])[2]] {
            worker.signal(Signal::SIGKILL);
        }
    }

    #[test]
    fn restart_with_a_failing_worker_fails_and_the_old_worker_stays() {
        let options = [CONTROL, "--interval=0.1", "--start-attempts=2"];
        let s = start(&options, FAILS_ON_DEMAND);
        s.wait_generation(1);
        s.write("fail", "");
        let failed = s.command(&RESTART);
        failed.expect(
            1,
            &["the reload failed: exit code", "generation 1 serves on"],
        );
        assert_eq!(s.status().len(), 1);
        std::fs::remove_file(s.path("fail")).unwrap();
        s.command(&RESTART).expect(0, &["generation 4 is alone"]);
        s.wait_generation(4);
        s.stop();
    }

    #[test]
    fn two_concurrent_reload_calls_get_an_answer_each() {
        let options = [CONTROL, "--interval=0.3", "--start-attempts=1"];
        let s = start(&options, FAILS_ON_DEMAND);
        s.wait_generation(1);
        s.write("fail", "");
        let (mut one, mut two) = (connect(&s), connect(&s));
        one.write_all(call("Reload", "{}", false).as_bytes())
            .unwrap();
        let failed = next_message(&mut one).unwrap();
        assert!(
            failed.contains("ReloadFailed") && failed.contains(r#""kept":1"#),
            "{failed}"
        );
        std::fs::remove_file(s.path("fail")).unwrap();
        one.write_all(call("Reload", "{}", false).as_bytes())
            .unwrap();
        s.wait_up(3);
        two.write_all(call("Reload", "{}", true).as_bytes())
            .unwrap();
        let waiting = next_message(&mut two).unwrap();
        assert!(
            waiting.contains("waiting") && waiting.contains("continues"),
            "{waiting}"
        );
        let done = next_message(&mut one).unwrap();
        assert!(
            done.contains("drained") && done.contains(r#""generation":3"#),
            "{done}"
        );
        let last = std::iter::from_fn(|| next_message(&mut two)).find(|m| !m.contains("continues"));
        let last = last.unwrap();
        assert!(
            last.contains("drained") && last.contains(r#""generation":4"#),
            "{last}"
        );
        s.stop();
    }

    #[test]
    fn restart_names_a_program_that_cannot_be_executed() {
        let options = [CONTROL, "--start-attempts=1", "--interval=0.1"];
        let builder = supervisor(&options).executable("worker", "#!/bin/sh\nexec sleep 1000\n");
        let s = builder.program(["--", "./worker"]).start();
        std::fs::remove_file(s.path("worker")).unwrap();
        let why = "failed to exec ./worker: No such file or directory";
        s.command(&RESTART)
            .expect(1, &[why, "generation 1 serves on"]);
        s.stop();
    }

    #[test]
    fn stop_returns_when_the_supervisor_has_left() {
        let s = start(&[CONTROL, "--pid-file=DIR/pid"], SLEEPS);
        s.wait_generation(1);
        let line = format!("stopping now (pid:{})...", s.process());
        s.command(&STOP).expect(0, &[&line]);
        assert!(!s.path("pid").exists() && !s.path("control").exists());
        s.expect_exit(0);
    }

    #[test]
    fn waiting_restart_is_told_of_a_stop() {
        let s = supervisor(&[CONTROL, "--interval=30"]).sh(SLEEPS).spawn();
        s.wait_up(1);
        let restart = s.spawn_command(&RESTART);
        s.wait_line_starting("asked to reload");
        s.term();
        restart.wait().expect(3, &["told to stop"]);
        s.expect_exit(0);
    }

    #[test]
    fn status_is_shown_as_text_json_and_metrics() {
        let s = start(&[CONTROL, "--port=127.0.0.1:PORT"], SLEEPS);
        let worker = s.wait_generation(1);
        let text = s.command(&["--status", CONTROL]);
        let expected = format!("generation 1: worker {worker}, ready for");
        assert!(text.stdout.contains(&expected), "{}", text.stdout);
        let json = s.command(&STATUS).stdout;
        let socket = format!(r#""key": "127.0.0.1:{}""#, s.port(0));
        for part in [&socket, r#""state": "serving""#, r#""lastReload": null"#] {
            assert!(json.contains(part), "{part} in {json}");
        }
        s.command(&RESTART).expect(0, &[]);
        let metrics = s.command(&["--status", "--metrics", CONTROL]).stdout;
        for line in [
            "start_server_generation 2",
            "start_server_workers{state=\"ready\"} 1",
            "start_server_last_reload_success 1",
            "start_server_reloads_total{result=\"success\"} 1",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
        }
        s.stop();
    }

    #[test]
    fn commands_fail_without_a_supervisor() {
        for command in ["--restart", "--stop", "--status"] {
            let failed = bare_supervisor(&[command, CONTROL]).run();
            failed.expect(3, &["/control", "no such socket"]);
        }
        bare_supervisor(&["--status"])
            .run()
            .expect(2, &["--control"]);
    }

    #[test]
    fn option_without_effect_is_refused() {
        let cases = [
            (
                &["--json", CONTROL][..],
                "--json means nothing without --status",
            ),
            (&["--restart", "--metrics", CONTROL], "--metrics means"),
            (&["--stop", "--until=ready", CONTROL], "without --restart"),
            (
                &["--timeout=3", "--port=0", "true"],
                "--restart or --stop or",
            ),
            (&["--name=web", "--port=0", "true"], "without --generate"),
            (
                &["--start-timeout=3", "--", "true"],
                "--start-timeout means nothing without --ready=notify",
            ),
            (&["--check-timeout=3", "--", "true"], "without --check-cmd"),
            (
                &["--generate=units", "--check-timeout=3", "/bin/true"],
                "without --check-cmd",
            ),
            (&["--path-mode=700", "--", "true"], "without --path"),
        ];
        for (options, message) in cases {
            bare_supervisor(options).run().expect(2, &[message]);
        }
    }

    #[test]
    fn control_socket_is_for_its_user_and_root_only() {
        let s = start(&[CONTROL], SLEEPS);
        let mode = std::fs::metadata(s.path("control"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        s.stop();
    }

    #[test]
    fn second_supervisor_is_refused_and_the_first_keeps_its_socket() {
        let s = start(&[CONTROL], SLEEPS);
        let second = s.command(&[CONTROL, "--", "true"]);
        second.expect(1, &["a process listens on it"]);
        s.command(&RESTART).expect(0, &[]);
        s.stop();
    }

    #[test]
    fn invalid_message_ends_only_its_connection() {
        let s = start(&[CONTROL], SLEEPS);
        for nonsense in ["GET / HTTP/1.1\r\n\r\n\0", "\0", "{}\0", "[[[[\0"] {
            let mut client = connect(&s);
            client.write_all(nonsense.as_bytes()).unwrap();
            assert_eq!(next_message(&mut client), None, "{nonsense}");
        }
        let mut endless = connect(&s);
        let flood = [b'x'; 4096];
        while endless.write_all(&flood).is_ok() {}
        // One call in two writes, then two calls in one write.
        let mut client = connect(&s);
        let text = call("Status", "{}", false);
        let (a, b) = text.split_at(20);
        client.write_all(a.as_bytes()).unwrap();
        s.command(&STATUS).expect(0, &[]);
        client.write_all(format!("{b}{text}").as_bytes()).unwrap();
        for _ in 0..2 {
            assert!(next_message(&mut client).unwrap().contains("serving"));
        }
        s.stop();
    }

    #[test]
    fn all_calls_are_answered_after_the_client_has_shut_down_writing() {
        let s = start(&[CONTROL], SLEEPS);
        let info = "{\"method\":\"org.varlink.service.GetInfo\"}\0".to_owned();
        let status = call("Status", "{}", false);
        let mut client = connect(&s);
        let calls = [&status, &info, &info, &info, &status, &info];
        client
            .write_all(calls.map(String::as_str).concat().as_bytes())
            .unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        for (number, asked) in calls.into_iter().enumerate() {
            let answer = next_message(&mut client);
            let answer = answer.unwrap_or_else(|| panic!("no answer to call {number}"));
            assert_eq!(answer.contains("serving"), *asked == status, "{answer}");
        }
        assert_eq!(next_message(&mut client), None);
        s.stop();
    }

    #[test]
    fn idle_and_slow_clients_do_not_delay_others() {
        let s = start(&[CONTROL], SLEEPS);
        s.wait_generation(1);
        let mut idle: Vec<UnixStream> = (0..300).map(|_| connect(&s)).collect();
        for client in idle.iter_mut().step_by(3) {
            let _ = client.write_all(b"{\"method\":"); // the supervisor has closed some
        }
        let mut slow = connect(&s);
        slow.set_nonblocking(true).unwrap();
        let status = call("Status", "{}", false);
        while slow.write_all(status.as_bytes()).is_ok() {}
        s.command(&RESTART).expect(0, &[]);
        s.wait_generation(2);
        drop((idle, slow));
        s.wait_asleep();
        s.stop();
    }
}
