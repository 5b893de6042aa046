//! The `NOTIFY_SOCKET` of a generation: its place, its owner, and unusual messages.

mod extensions {
    use std::path::Path;
    use std::time::Instant;

    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{BOUND, NotifyClient, skipped};

    use crate::fixtures::{NOTIFY, start_notified, supervisor};

    #[test]
    fn socket_is_beside_the_control_socket_if_tmp_is_read_only() {
        if !nix::unistd::geteuid().is_root() {
            skipped("a read-only /tmp: only root can mount one");
            return;
        }
        let mounts = r#"set -- unshare --mount --propagation private sh -c '
            mount --bind /tmp /tmp && mount --bind "$DIR" "$DIR" && mount -o remount,ro,bind /tmp && exec "$@"
            ' sh "$@""#;
        let s = supervisor(&["--control=DIR/control"])
            .env("TMPDIR", "/tmp")
            .before(mounts)
            .sh(SLEEPS)
            .start();
        let socket = s.wait_generation(1).variable("NOTIFY_SOCKET");
        let socket = socket.expect("the worker has a notification socket");
        assert!(Path::new(&socket).starts_with(s.path("")), "{socket}");
        s.stop();
    }

    #[test]
    fn notification_sockets_are_removed() {
        let s = start_notified(&NOTIFY);
        let first = NotifyClient::of(s.wait_generation(1)).path;
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        assert_ne!(notify.path, first, "two generations have the same socket");
        assert_eq!(notify.path.parent(), first.parent());
        notify.send("READY=1");
        s.wait_generation(2);
        s.eventually("the socket of the first generation is removed", || {
            !first.exists()
        });
        s.stop();
        assert!(!first.parent().unwrap().exists(), "the directory is left");
    }

    #[test]
    fn notification_socket_is_for_its_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let s = start_notified(&NOTIFY);
        let socket = NotifyClient::of(s.wait_generation(1)).path;
        let mode = socket.parent().unwrap().metadata().unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        s.stop();
    }

    #[test]
    fn worker_can_remove_its_socket_and_the_directory_without_harm() {
        let s = start_notified(&NOTIFY);
        let socket = NotifyClient::of(s.wait_generation(1)).path;
        std::fs::remove_file(&socket).unwrap();
        std::fs::remove_dir(socket.parent().unwrap()).unwrap();
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        assert_ne!(notify.path.parent(), socket.parent());
        notify.send("READY=1");
        s.wait_generation(2);
        s.stop();
        assert!(!notify.path.parent().unwrap().exists());
    }

    #[test]
    fn invalid_and_oversized_messages_have_no_effect() {
        let s = start_notified(&NOTIFY);
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        let all_bytes: Vec<u8> = (0..=255).cycle().take(4000).collect();
        for text in [
            &b""[..],
            b"\n\n\n",
            b"READY",
            b"READY=1\0",
            b"\xff\xfe=\x80",
            &all_bytes,
        ] {
            notify.send(text);
        }
        // The largest message that a socket takes; the kernel refuses the next one.
        notify.send([b"READY=1\n".as_slice(), &vec![b'x'; 100_000]].concat());
        let _ = notify.try_send(vec![b'x'; 1 << 20]);
        s.wait_line("generation 2: ignoring a notification that is too long");
        assert_eq!(s.status().len(), 1);
        notify.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn flood_of_messages_does_not_delay_a_reload() {
        let s = start_notified(&NOTIFY);
        let first = NotifyClient::of(s.wait_generation(1));
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                // until the old generation is terminated and its socket closed
                (0..100_000)
                    .take_while(|n| {
                        first
                            .try_send(format!("STATUS=number {n}\nWATCHDOG=1"))
                            .is_ok()
                    })
                    .count()
            });
            s.wait_line_starting("starting new worker");
            // not `hup`, which would wait until the busy supervisor sleeps
            s.process().signal(nix::sys::signal::Signal::SIGHUP);
            s.wait_notifying(2).1.send("READY=1");
            s.wait_generation(2);
            assert!(flood.join().unwrap() > 0);
        });
        s.stop();
    }

    #[test]
    fn hundred_thousand_messages_are_read() {
        let s = start_notified(&NOTIFY);
        let notify = NotifyClient::of(s.wait_generation(1));
        let start = Instant::now();
        (0..100_000).for_each(|_| notify.send("EXTEND_TIMEOUT_USEC=1"));
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        s.hup();
        s.wait_notifying(2).1.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn received_descriptors_are_closed() {
        let s = start_notified(&NOTIFY);
        let worker = s.wait_generation(1);
        let before = s.process().descriptors().len();
        NotifyClient::of(worker).send_fds_and_wait_closed("BARRIER=1", 1);
        s.eventually("the supervisor has no more descriptors than before", || {
            s.process().descriptors().len() == before
        });
        s.stop();
    }

    #[test]
    fn received_descriptors_beyond_the_limit_are_closed() {
        let s = supervisor(&NOTIFY)
            .before("ulimit -n 64")
            .sh(SLEEPS)
            .spawn();
        let (worker, notify) = s.wait_notifying(1);
        notify.send("READY=1");
        s.wait_generation(1);
        let before = s.process().descriptors().len();
        for _ in 0..3 {
            NotifyClient::of(worker).send_fds_and_wait_closed("BARRIER=1", 253);
        }
        assert_eq!(s.process().descriptors().len(), before);
        s.hup();
        s.wait_notifying(2).1.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn message_of_another_user_is_ignored() {
        if !nix::unistd::geteuid().is_root() {
            return skipped("another user needs root");
        }
        use std::os::unix::process::CommandExt;
        let s = start_notified(&NOTIFY);
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        let path = notify.path.clone();
        // The other user cannot open the socket, but has a connection of the worker's user.
        let other = std::process::Command::new("/bin/sh")
            .args(["-c", "printf READY=1 >&0"])
            .uid(65534)
            .stdin(notify.into_fd())
            .status()
            .unwrap();
        assert!(other.success());
        s.wait_line_starting("generation 2: ignoring a notification from another user: process ");
        assert_eq!(s.status().len(), 1);
        let refused = std::process::Command::new("/bin/sh")
            .args(["-c", "test -S \"$0\""])
            .arg(&path)
            .uid(65534)
            .status()
            .unwrap();
        assert!(!refused.success(), "another user may enter the directory");
        NotifyClient::of(s.wait_up(2)).send("READY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn unusable_directory_is_named_and_another_is_used() {
        let long = format!("DIR/{}", "x".repeat(90));
        for (name, place) in [
            ("RUNTIME_DIRECTORY", "/nonexistent/place"),
            ("XDG_RUNTIME_DIR", "/proc/self"),
            ("RUNTIME_DIRECTORY", &long),
        ] {
            let builder = supervisor(&NOTIFY);
            let place = place.replace("DIR", &builder.path("").to_string_lossy());
            let place = place.trim_end_matches('/');
            let s = builder
                .before("mkdir -p \"$DIR\"/$(printf %090d 0 | tr 0 x)")
                .env(name, place)
                .sh(SLEEPS)
                .spawn();
            s.wait_line_starting(&format!("no place for notification sockets in {place}: "));
            s.wait_notifying(1).1.send("READY=1");
            s.wait_generation(1);
            s.stop();
        }
    }

    #[test]
    fn runtime_directory_of_the_service_is_preferred() {
        let builder = supervisor(&NOTIFY).before("mkdir \"$DIR/run\" \"$DIR/other\"");
        let (run, other) = (builder.path("run"), builder.path("other"));
        let both = format!("{}:{}", run.display(), other.display());
        let s = builder
            .env("RUNTIME_DIRECTORY", both)
            .env("XDG_RUNTIME_DIR", other)
            .sh(SLEEPS)
            .spawn();
        let (_, notify) = s.wait_notifying(1);
        assert!(notify.path.starts_with(&run), "{}", notify.path.display());
        notify.send("READY=1");
        s.wait_generation(1);
        s.stop();
        assert_eq!(std::fs::read_dir(run).unwrap().count(), 0);
    }

    #[test]
    fn directory_that_fills_up_is_named_and_another_is_used() {
        if !nix::unistd::geteuid().is_root() {
            return skipped("a file system of its own needs root");
        }
        // Inodes for the directory, the socket of one generation and one more file.
        let small = r#"
            if [ -z "$INSIDE" ]; then
                mkdir "$DIR/small"
                INSIDE=1 exec unshare -m sh -c '
                    mount -t tmpfs -o nr_inodes=4 small "$DIR/small" && exec "$@"' sh "$@"
            fi"#;
        let builder = supervisor(&NOTIFY);
        let runtime = builder.path("small");
        let s = builder
            .before(small)
            .env("RUNTIME_DIRECTORY", &runtime)
            .sh(SLEEPS)
            .spawn();
        let worker = s.wait_up(1);
        // The file system is mounted in the worker's namespace only, hence by way of /proc.
        let inside = |path: &str| format!("/proc/{worker}/root{path}");
        let socket = worker.variable("NOTIFY_SOCKET").unwrap();
        assert!(socket.starts_with(&*runtime.to_string_lossy()), "{socket}");
        NotifyClient::connect(inside(&socket)).send("READY=1");
        s.wait_generation(1);

        std::fs::write(inside(&format!("{}/full", runtime.display())), "").unwrap();
        s.hup();
        s.wait_line_starting(&format!(
            "no place for notification sockets in {}: No space left on device; using ",
            runtime.display()
        ));
        s.wait_notifying(2).1.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }
}
