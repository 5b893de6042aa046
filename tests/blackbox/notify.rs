//! What systemd is told, sd_notify(3): here a socket of ours listens in its place.

mod better {
    use std::io;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use crate::harness::{BOUND, FAILS_ON_DEMAND, SLEEPS, Setup, Voice, look_for};

    /// The service manager's end.
    struct Manager(UnixDatagram);

    impl Manager {
        /// Listens at `notify` in the test's directory, and says so in the environment.
        fn of(setup: Setup) -> (Manager, Setup) {
            let path = setup.path("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            (Manager(socket), setup.env("NOTIFY_SOCKET", path))
        }

        fn next(&self) -> Option<String> {
            let mut buffer = [0; 4096];
            match self.0.recv(&mut buffer) {
                Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
                Err(e) => panic!("{e}"),
            }
        }

        /// Waits for a datagram with this line; the ones before it have been read.
        #[track_caller]
        fn wait(&self, line: &str) -> String {
            let mut seen = Vec::new();
            let found = look_for(|| {
                let datagram = self.next()?;
                let found = datagram
                    .lines()
                    .any(|it| it == line)
                    .then(|| datagram.clone());
                seen.push(datagram);
                found
            });
            found.unwrap_or_else(|| panic!("not within {BOUND:?}: {line} in {seen:?}"))
        }
    }

    fn status(datagram: &str) -> &str {
        let line = datagram
            .lines()
            .find_map(|line| line.strip_prefix("STATUS="));
        line.unwrap_or_else(|| panic!("no STATUS in {datagram:?}"))
    }

    #[test]
    fn ready_reloading_ready_stopping() {
        let (manager, setup) = Manager::of(Setup::new(&[]));
        let s = setup.sh(SLEEPS).start();
        let first = s.wait_generation(1);
        let ready = manager.wait("READY=1");
        assert_eq!(
            status(&ready),
            format!("generation 1 serving (pid {first})")
        );
        s.hup();
        let reloading = manager.wait("RELOADING=1");
        assert!(
            reloading.contains("\nMONOTONIC_USEC="),
            "in one datagram: {reloading:?}"
        );
        let ready = manager.wait("READY=1");
        assert!(status(&ready).contains("; reload at "), "{ready:?}");
        assert!(status(&ready).ends_with(" succeeded"), "{ready:?}");
        s.wait_generation(2);
        s.term();
        manager.wait("STOPPING=1");
        s.expect_exit(0);
    }

    #[test]
    fn a_reload_that_failed_ends_in_ready_too_and_says_why() {
        let (manager, setup) = Manager::of(Setup::new(&["--interval=0.2", "--start-attempts=1"]));
        let s = setup.sh(FAILS_ON_DEMAND).start();
        let first = s.wait_generation(1);
        manager.wait("READY=1");
        s.write("fail", "");
        s.hup();
        manager.wait("RELOADING=1");
        let ready = manager.wait("READY=1");
        assert!(status(&ready).starts_with(&format!("generation 1 serving (pid {first}); ")));
        assert!(
            status(&ready).ends_with(" failed: exit code 1, generation 1 kept"),
            "{ready:?}"
        );
        s.stop();
    }

    #[test]
    fn what_could_not_be_said_is_said_as_soon_as_it_can() {
        let (manager, setup) = Manager::of(Setup::new(&[]));
        let (socket, away) = (setup.path("notify"), setup.path("away"));
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
        rename(&socket, &away);
        let s = setup.sh(SLEEPS).start();
        s.wait_line("failed to notify systemd: No such file or directory");
        s.wait_generation(1);
        rename(&away, &socket);
        manager.wait("READY=1");

        rename(&socket, &away);
        s.hup();
        s.wait_generation(2);
        rename(&away, &socket);
        manager.wait("RELOADING=1");
        manager.wait("READY=1");
        s.stop();
    }

    #[test]
    fn it_is_not_ready_before_a_worker_is() {
        let (manager, setup) = Manager::of(Setup::new(&["--interval=0.2"]));
        let s = setup.file("fail", "").sh(FAILS_ON_DEMAND).spawn();
        s.wait_line_starting("new worker ");
        s.term();
        s.expect_exit(0);
        while let Some(datagram) = manager.next() {
            assert!(!datagram.contains("READY=1"), "{datagram:?}");
        }
    }

    #[test]
    fn workers_have_no_line_to_the_manager() {
        let (_manager, setup) = Manager::of(Setup::new(&[]));
        let setup = setup.env("WATCHDOG_USEC", "60000000").env("FDSTORE", "1");
        let s = setup.sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"] {
            assert_eq!(worker.variable(name), None, "{name}");
        }
        // They have one to us.
        assert_ne!(Voice::of(worker).path, s.path("notify"));
        s.stop();
    }

    #[test]
    fn what_a_worker_says_of_itself_is_passed_on() {
        let (manager, setup) = Manager::of(Setup::new(&[]));
        let s = setup.sh(SLEEPS).start();
        let first = s.wait_generation(1);
        manager.wait("READY=1");
        let voice = Voice::of(first);
        voice.say("STATUS=17 requests\nSTOPPING=1\nMAINPID=1");
        let own = format!("STATUS=generation 1 serving (pid {first}): 17 requests");
        assert_eq!(manager.wait(&own).lines().count(), 1, "and nothing else");
        voice.say("STATUS=a \x1b[31mcolour\x07");
        manager.wait(&format!(
            "STATUS=generation 1 serving (pid {first}): a [31mcolour"
        ));
        s.stop();
    }

    #[test]
    fn the_words_of_one_that_fails_are_its_reason() {
        let options = [
            "--ready=notify",
            "--start-timeout=1000",
            "--start-attempts=1",
        ];
        let (manager, setup) = Manager::of(Setup::new(&options));
        let s = setup
            .sh("up; read gate <\"$DIR/gate\"; exit 3")
            .before("mkfifo \"$DIR/gate\"")
            .spawn();
        let worker = s.wait_up(1);
        Voice::of(worker).say("STATUS=no database\nERRNO=111\nEXTEND_TIMEOUT_USEC=20000000");
        let extended = manager.wait("EXTEND_TIMEOUT_USEC=30000000");
        assert!(!extended.contains("READY"), "{extended:?}");
        s.open_gate("gate");
        s.wait_line("its last words: no database (Connection refused)");
        manager.wait("STATUS=gave up: exit code 3 (it said: no database (Connection refused))");
        s.expect_exit(1);
    }

    #[test]
    fn the_watchdog_is_pinged() {
        let (manager, setup) = Manager::of(Setup::new(&[]));
        let s = setup.env("WATCHDOG_USEC", "100000").sh(SLEEPS).start();
        for _ in 0..3 {
            manager.wait("WATCHDOG=1");
        }
        s.stop();
    }

    #[test]
    fn bound_sockets_are_stored_and_their_files_stay() {
        let options = ["--port=127.0.0.1:PORT", "--path=DIR/a.sock"];
        let (manager, setup) = Manager::of(Setup::new(&options));
        let s = setup.env("FDSTORE", "8").sh(SLEEPS).start();
        let stored = manager.wait("FDSTORE=1");
        let name = format!("FDNAME=start_server.stream.127.0.0.1%3A{}", s.port(0));
        assert!(stored.lines().any(|line| line == name), "{stored:?}");
        assert!(manager.wait("FDSTORE=1").contains("/a.sock"));
        s.stop();
        assert!(
            s.path("a.sock").exists(),
            "the next start gets this socket back"
        );
    }

    #[test]
    fn without_a_store_nothing_is_stored() {
        let (manager, setup) = Manager::of(Setup::new(&["--path=DIR/a.sock"]));
        let s = setup.sh(SLEEPS).start();
        assert!(!manager.wait("READY=1").contains("FDSTORE"));
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn a_manager_that_is_gone_does_no_harm() {
        let (manager, setup) = Manager::of(Setup::new(&[]));
        drop(manager);
        let s = setup.sh(SLEEPS).start();
        s.hup();
        s.wait_generation(2);
        s.stop();
    }
}
