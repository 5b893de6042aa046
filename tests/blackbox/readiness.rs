//! Readiness by the worker's own word, `--ready`, and what else can be heard on its `NOTIFY_SOCKET`.

mod better {
    use std::time::{Duration, Instant};

    use crate::harness::{
        BOUND, FAILS_ON_DEMAND, Process, SLEEPS, STUBBORN, Setup, Supervisor, Voice,
    };

    /// Nothing but READY counts, and there is time for it.
    const NOTIFY: [&str; 2] = ["--ready=notify", "--start-timeout=1000"];

    /// A worker that will say READY when the test does.
    fn starting(s: &Supervisor, generation: u32) -> (Process, Voice) {
        let worker = s.wait_up(generation);
        (worker, Voice::of(worker))
    }

    /// With these options, generation 1 serves by its own word.
    fn serving(options: &[&str]) -> Supervisor {
        let s = Setup::new(options).sh(SLEEPS).spawn();
        starting(&s, 1).1.say("READY=1");
        s.wait_generation(1);
        s
    }

    #[test]
    fn the_word_swaps_and_nothing_else_does() {
        let s = serving(&NOTIFY);
        s.hup();
        let (_, voice) = starting(&s, 2);
        voice.say("STATUS=nearly there\nWATCHDOG=1\nMAINPID=1\nSTOPPING=1\nREADY=0");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1, "generation 1 alone is listed");
        voice.say("STATUS=done\nREADY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn by_default_the_word_comes_before_the_interval() {
        let s = Setup::new(&["--interval=1000"]).sh(SLEEPS).spawn();
        for generation in 1..=3 {
            starting(&s, generation).1.say("READY=1");
            s.wait_generation(generation);
            s.hup();
        }
        s.term();
        s.expect_exit(0);
    }

    #[test]
    fn with_alive_it_does_not_count() {
        let s = Setup::new(&["--ready=alive", "--interval=1000"])
            .sh(SLEEPS)
            .spawn();
        let (_, voice) = starting(&s, 1);
        voice.say("READY=1");
        voice.say("READY=1");
        s.wait_asleep();
        assert_eq!(s.status(), []);
        s.term();
        s.expect_exit(0);
    }

    #[test]
    fn a_new_worker_that_never_says_it_is_stopped_and_the_old_one_kept() {
        let s = serving(&[
            "--ready=notify",
            "--start-timeout=0.3",
            "--start-attempts=1",
        ]);
        s.hup();
        let second = s.wait_up(2);
        s.wait_line(&format!(
            "new worker {second} seems to have failed to start, it never said READY=1 in 0.3 s"
        ));
        s.wait_line("giving up after 1 attempt, generation 1 keeps serving");
        s.wait_line(&format!("worker {second} died, status:15 (killed by TERM)"));
        s.wait_generation(1);
        s.stop();
    }

    #[test]
    fn ready_from_one_that_was_given_up_changes_nothing() {
        let options = [
            "--ready=notify",
            "--start-timeout=0.3",
            "--start-attempts=1",
        ];
        let s = Setup::new(&options)
            .sh(&format!(
                "if [ $SERVER_STARTER_GENERATION = 2 ]; then {STUBBORN}; fi; {SLEEPS}"
            ))
            .spawn();
        starting(&s, 1).1.say("READY=1");
        s.wait_generation(1);
        s.hup();
        let (second, voice) = starting(&s, 2);
        s.wait_line_starting("giving up after 1 attempt");
        voice.say("READY=1");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1);
        s.hup();
        let (_, third) = starting(&s, 3);
        voice.say("READY=1\nSTATUS=me too");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1);
        third.say("READY=1");
        s.wait_generation(3);
        // It has been asked, and then it is made to go.
        s.eventually("the second is killed", || !second.is_alive());
        s.stop();
    }

    #[test]
    fn ready_and_then_exit_is_a_failure_to_start() {
        let s = Setup::new(&[
            "--ready=notify",
            "--start-timeout=1000",
            "--start-attempts=1",
        ])
        .sh(FAILS_ON_DEMAND)
        .spawn();
        starting(&s, 1).1.say("READY=1");
        s.wait_generation(1);
        s.hup();
        let (second, voice) = starting(&s, 2);
        // Both are there before the supervisor looks.
        s.process().signal(nix::sys::signal::Signal::SIGSTOP);
        s.eventually("it is stopped", || s.process().state() == Some('T'));
        voice.say("READY=1");
        second.signal(nix::sys::signal::Signal::SIGKILL);
        s.eventually("it is dead", || second.state() == Some('Z'));
        s.process().signal(nix::sys::signal::Signal::SIGCONT);
        s.wait_line_starting(&format!(
            "new worker {second} seems to have failed to start"
        ));
        s.wait_line("giving up after 1 attempt, generation 1 keeps serving");
        s.wait_generation(1);
        s.stop();
    }

    #[test]
    fn more_time_may_be_asked_for() {
        let s = serving(&[
            "--ready=notify",
            "--start-timeout=0.5",
            "--start-attempts=1",
        ]);
        s.hup();
        let (_, voice) = starting(&s, 2);
        let asked = Instant::now();
        voice.say("EXTEND_TIMEOUT_USEC=1000000000");
        s.eventually("the first time-out is over", || {
            asked.elapsed() > Duration::from_millis(600)
        });
        voice.say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn nothing_is_left_of_the_sockets() {
        let s = serving(&NOTIFY);
        let first = Voice::of(s.wait_generation(1)).path;
        s.hup();
        let (_, voice) = starting(&s, 2);
        assert_ne!(voice.path, first, "each generation has its own");
        assert_eq!(voice.path.parent(), first.parent());
        voice.say("READY=1");
        s.wait_generation(2);
        s.eventually("the first one's has gone", || !first.exists());
        s.stop();
        assert!(!first.parent().unwrap().exists(), "nor the directory");
    }

    #[test]
    fn it_is_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let s = serving(&NOTIFY);
        let socket = Voice::of(s.wait_generation(1)).path;
        let mode = socket.parent().unwrap().metadata().unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        s.stop();
    }

    #[test]
    fn a_worker_may_remove_its_socket_and_even_the_directory() {
        let s = serving(&NOTIFY);
        let socket = Voice::of(s.wait_generation(1)).path;
        std::fs::remove_file(&socket).unwrap();
        std::fs::remove_dir(socket.parent().unwrap()).unwrap();
        s.hup();
        let (_, voice) = starting(&s, 2);
        assert_ne!(voice.path.parent(), socket.parent());
        voice.say("READY=1");
        s.wait_generation(2);
        s.stop();
        assert!(!voice.path.parent().unwrap().exists());
    }

    #[test]
    fn garbage_and_giants_change_nothing() {
        let s = serving(&NOTIFY);
        s.hup();
        let (_, voice) = starting(&s, 2);
        let all_bytes: Vec<u8> = (0..=255).cycle().take(4000).collect();
        for text in [
            &b""[..],
            b"\n\n\n",
            b"READY",
            b"READY=1\0",
            b"\xff\xfe=\x80",
            &all_bytes,
        ] {
            voice.say(text);
        }
        // As much as a socket takes; more is refused on the way.
        voice.say([b"READY=1\n".as_slice(), &vec![b'x'; 100_000]].concat());
        let _ = voice.try_say(vec![b'x'; 1 << 20]);
        s.wait_line("generation 2: ignoring a notification that is too long");
        assert_eq!(s.status().len(), 1);
        voice.say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_flood_holds_nothing_up() {
        let s = serving(&NOTIFY);
        let first = Voice::of(s.wait_generation(1));
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                // Until it is told to leave, and its line is closed.
                (0..100_000)
                    .take_while(|n| {
                        first
                            .try_say(format!("STATUS=number {n}\nWATCHDOG=1"))
                            .is_ok()
                    })
                    .count()
            });
            s.wait_line_starting("starting new worker");
            // The supervisor is busy all the time: `hup` would wait for it to fall asleep.
            s.process().signal(nix::sys::signal::Signal::SIGHUP);
            starting(&s, 2).1.say("READY=1");
            s.wait_generation(2);
            assert!(flood.join().unwrap() > 0);
        });
        s.stop();
    }

    #[test]
    fn a_hundred_thousand_messages_are_read() {
        let s = serving(&NOTIFY);
        let voice = Voice::of(s.wait_generation(1));
        let start = Instant::now();
        (0..100_000).for_each(|_| voice.say("EXTEND_TIMEOUT_USEC=1"));
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        s.hup();
        starting(&s, 2).1.say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn descriptors_that_come_along_are_closed() {
        let s = serving(&NOTIFY);
        let worker = s.wait_generation(1);
        let before = s.process().descriptors().len();
        // As sd_notify_barrier(3) does it: the other end hears of the close.
        Voice::of(worker).expect_closed("BARRIER=1", 1);
        s.eventually("it has no more than before", || {
            s.process().descriptors().len() == before
        });
        s.stop();
    }

    #[test]
    fn more_descriptors_than_there_is_room_for_are_closed_too() {
        let s = Setup::new(&NOTIFY)
            .before("ulimit -n 64")
            .sh(SLEEPS)
            .spawn();
        let (worker, voice) = starting(&s, 1);
        voice.say("READY=1");
        s.wait_generation(1);
        let before = s.process().descriptors().len();
        for _ in 0..3 {
            Voice::of(worker).expect_closed("BARRIER=1", 253);
        }
        assert_eq!(s.process().descriptors().len(), before);
        s.hup();
        starting(&s, 2).1.say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_stranger_is_not_listened_to() {
        if !nix::unistd::geteuid().is_root() {
            return crate::harness::skipped("to be another user needs root");
        }
        use std::os::unix::process::CommandExt;
        let s = serving(&NOTIFY);
        s.hup();
        let (_, voice) = starting(&s, 2);
        let path = voice.path.clone();
        // It cannot open the socket; it has got a connection of somebody's.
        let stranger = std::process::Command::new("/bin/sh")
            .args(["-c", "printf READY=1 >&0"])
            .uid(65534)
            .stdin(voice.into_fd())
            .status()
            .unwrap();
        assert!(stranger.success());
        s.wait_line_starting("generation 2: ignoring a notification from a stranger: process ");
        assert_eq!(s.status().len(), 1);
        let refused = std::process::Command::new("/bin/sh")
            .args(["-c", "test -S \"$0\""])
            .arg(&path)
            .uid(65534)
            .status()
            .unwrap();
        assert!(!refused.success(), "nobody else may enter the directory");
        Voice::of(s.wait_up(2)).say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_place_that_cannot_be_used_is_named_and_another_found() {
        let long = format!("DIR/{}", "x".repeat(90));
        for (name, place) in [
            ("RUNTIME_DIRECTORY", "/nonexistent/place"),
            ("XDG_RUNTIME_DIR", "/proc/self"),
            ("RUNTIME_DIRECTORY", &long),
        ] {
            let setup = Setup::new(&NOTIFY);
            let place = place.replace("DIR", &setup.path("").to_string_lossy());
            let place = place.trim_end_matches('/');
            let s = setup
                .before("mkdir -p \"$DIR\"/$(printf %090d 0 | tr 0 x)")
                .env(name, place)
                .sh(SLEEPS)
                .spawn();
            s.wait_line_starting(&format!("no place for notification sockets in {place}: "));
            starting(&s, 1).1.say("READY=1");
            s.wait_generation(1);
            s.stop();
        }
    }

    #[test]
    fn the_service_s_runtime_directory_comes_first() {
        let setup = Setup::new(&NOTIFY).before("mkdir \"$DIR/run\" \"$DIR/other\"");
        let (run, other) = (setup.path("run"), setup.path("other"));
        let both = format!("{}:{}", run.display(), other.display());
        let s = setup
            .env("RUNTIME_DIRECTORY", both)
            .env("XDG_RUNTIME_DIR", other)
            .sh(SLEEPS)
            .spawn();
        let (_, voice) = starting(&s, 1);
        assert!(voice.path.starts_with(&run), "{}", voice.path.display());
        voice.say("READY=1");
        s.wait_generation(1);
        s.stop();
        assert_eq!(std::fs::read_dir(run).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_fills_up_later_is_named_and_another_found() {
        if !nix::unistd::geteuid().is_root() {
            return crate::harness::skipped("a file system of its own needs root");
        }
        // Room for the directory, the socket of one generation, and one more file.
        let small = r#"
            if [ -z "$INSIDE" ]; then
                mkdir "$DIR/small"
                INSIDE=1 exec unshare -m sh -c '
                    mount -t tmpfs -o nr_inodes=4 small "$DIR/small" && exec "$@"' sh "$@"
            fi"#;
        let setup = Setup::new(&NOTIFY);
        let place = setup.path("small");
        let s = setup
            .before(small)
            .env("RUNTIME_DIRECTORY", &place)
            .sh(SLEEPS)
            .spawn();
        let worker = s.wait_up(1);
        // Its mounts are its own; they are reached by way of /proc.
        let inside = |path: &str| format!("/proc/{worker}/root{path}");
        let socket = worker.variable("NOTIFY_SOCKET").unwrap();
        assert!(socket.starts_with(&*place.to_string_lossy()), "{socket}");
        Voice::at(inside(&socket)).say("READY=1");
        s.wait_generation(1);

        std::fs::write(inside(&format!("{}/full", place.display())), "").unwrap();
        s.hup();
        s.wait_line_starting(&format!(
            "no place for notification sockets in {}: No space left on device; using ",
            place.display()
        ));
        starting(&s, 2).1.say("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_worker_that_has_to_ping_and_does_not_is_replaced() {
        let s = Setup::new(&["--worker-watchdog=0.5"]).sh(SLEEPS).start();
        let first = s.wait_generation(1);
        assert_eq!(first.variable("WATCHDOG_USEC").as_deref(), Some("500000"));
        assert_eq!(first.variable("WATCHDOG_PID"), Some(first.to_string()));
        s.wait_line(&format!(
            "worker {first} has not pinged for 0.5 s, sending ABRT"
        ));
        s.wait_line_starting(&format!("worker {first} died unexpectedly with status:"));
        // The next one pings for a while, and lives.
        let second = s.wait_up(2);
        let (voice, start) = (Voice::of(second), Instant::now());
        s.wait_generation(2);
        s.eventually("it has pinged for some time", || {
            voice.say("WATCHDOG=1");
            start.elapsed() > Duration::from_millis(1200)
        });
        assert_eq!(s.wait_generation(2), second);
        voice.say("WATCHDOG=trigger");
        s.wait_line(&format!(
            "worker {second} says that it is stuck, sending ABRT"
        ));
        s.process().signal(nix::sys::signal::Signal::SIGTERM);
        s.expect_exit(0);
    }

    #[test]
    fn without_the_option_nobody_has_to_ping() {
        let s = Setup::new(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        assert_eq!(worker.variable("WATCHDOG_USEC"), None);
        Voice::of(worker).say("WATCHDOG=trigger");
        s.wait_asleep();
        assert!(worker.is_alive());
        s.stop();
    }
}
