//! The `NOTIFY_SOCKET` of a generation: where it is, whose it is, and what else can be heard on it.

mod better {
    use std::time::Instant;

    use crate::harness::{BOUND, NOTIFY, SLEEPS, Setup, Voice, serving, starting};

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
}
