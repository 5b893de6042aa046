//! Notifications to systemd, sd_notify(3). A socket of the test stands for the service manager.

mod extensions {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::time::Duration;

    use server_starter_testing::NotifyClient;
    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS};

    use crate::fixtures::supervisor;

    fn status(datagram: &str) -> &str {
        let line = datagram
            .lines()
            .find_map(|line| line.strip_prefix("STATUS="));
        line.unwrap_or_else(|| panic!("no STATUS in {datagram:?}"))
    }

    #[test]
    fn manager_is_told_ready_reloading_ready_and_stopping() {
        let (manager, builder) = supervisor(&[]).notify_server();
        let s = builder.sh(SLEEPS).start();
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
            "RELOADING and MONOTONIC_USEC are not in one datagram: {reloading:?}"
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
    fn failed_reload_is_reported_as_ready_with_the_reason() {
        let (manager, builder) =
            supervisor(&["--interval=0.2", "--start-attempts=1"]).notify_server();
        let s = builder.sh(FAILS_ON_DEMAND).start();
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
    fn unsent_notification_is_sent_when_the_socket_is_back() {
        let (manager, builder) = supervisor(&[]).notify_server();
        let (socket, away) = (builder.path("notify"), builder.path("away"));
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
        rename(&socket, &away);
        let s = builder.sh(SLEEPS).start();
        let reason = format!("{}: No such file or directory", socket.display());
        s.wait_line(&format!("failed to notify systemd: {reason}"));
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
    fn manager_that_does_not_read_gets_each_notification_once_and_in_order_when_it_reads() {
        let builder = supervisor(&[]);
        let path = builder.path("full");
        let manager = UnixDatagram::bind(&path).unwrap();
        // Other services share the queue, and have filled it.
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        while other.send_to(b"STATUS=other", &path).is_ok() {}
        let s = builder.env("NOTIFY_SOCKET", &path).sh(SLEEPS).start();
        s.wait_generation(1);
        for generation in 2..4 {
            s.hup();
            s.wait_generation(generation);
        }
        s.settle();

        manager
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut told = Vec::new();
        let mut buffer = [0; 4096];
        while told.len() < 5 {
            let length = manager.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]);
            let first = text.lines().next().unwrap_or_default().to_owned();
            if first == "READY=1" || first == "RELOADING=1" {
                told.push(first);
            }
        }
        let (ready, reloading) = ("READY=1", "RELOADING=1");
        assert_eq!(told, [ready, reloading, ready, reloading, ready]);
        s.stop();
    }

    #[test]
    fn supervisor_is_not_ready_before_a_worker_is() {
        let (manager, builder) = supervisor(&["--interval=0.2"]).notify_server();
        let s = builder.file("fail", "").sh(FAILS_ON_DEMAND).spawn();
        s.wait_line_starting("new worker ");
        s.term();
        s.expect_exit(0);
        while let Some(datagram) = manager.receive() {
            assert!(!datagram.contains("READY=1"), "{datagram:?}");
        }
    }

    #[test]
    fn workers_do_not_get_the_variables_of_the_manager() {
        let (_manager, builder) = supervisor(&[]).notify_server();
        let builder = builder.env("WATCHDOG_USEC", "60000000").env("FDSTORE", "1");
        let s = builder.sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"] {
            assert_eq!(worker.variable(name), None, "{name}");
        }
        // Their NOTIFY_SOCKET is the supervisor's.
        assert_ne!(NotifyClient::of(worker).path, s.path("notify"));
        s.stop();
    }

    #[test]
    fn status_of_a_worker_is_passed_on() {
        let (manager, builder) = supervisor(&[]).notify_server();
        let s = builder.sh(SLEEPS).start();
        let first = s.wait_generation(1);
        manager.wait("READY=1");
        let notify = NotifyClient::of(first);
        notify.send("STATUS=17 requests\nSTOPPING=1\nMAINPID=1");
        let own = format!("STATUS=generation 1 serving (pid {first}): 17 requests");
        assert_eq!(
            manager.wait(&own).lines().count(),
            1,
            "the datagram has further lines"
        );
        notify.send("STATUS=a \x1b[31mcolour\x07");
        manager.wait(&format!(
            "STATUS=generation 1 serving (pid {first}): a [31mcolour"
        ));
        s.stop();
    }

    #[test]
    fn status_and_errno_of_a_failed_worker_are_the_reason() {
        let options = [
            "--ready=notify",
            "--start-timeout=1000",
            "--start-attempts=1",
        ];
        let (manager, builder) = supervisor(&options).notify_server();
        let s = builder
            .sh("up; read gate <\"$DIR/gate\"; exit 3")
            .before("mkfifo \"$DIR/gate\"")
            .spawn();
        let worker = s.wait_up(1);
        NotifyClient::of(worker)
            .send("STATUS=no database\nERRNO=111\nEXTEND_TIMEOUT_USEC=20000000");
        let extended = manager.wait("EXTEND_TIMEOUT_USEC=30000000");
        assert!(!extended.contains("READY"), "{extended:?}");
        s.open_gate("gate");
        s.wait_line("its last STATUS: no database (Connection refused)");
        manager.wait("STATUS=gave up: exit code 3 (it said: no database (Connection refused))");
        s.expect_exit(1);
    }

    #[test]
    fn watchdog_is_pinged() {
        let (manager, builder) = supervisor(&[]).notify_server();
        let s = builder.env("WATCHDOG_USEC", "100000").sh(SLEEPS).start();
        for _ in 0..3 {
            manager.wait("WATCHDOG=1");
        }
        s.stop();
    }

    #[test]
    fn bound_sockets_are_stored_and_their_files_stay() {
        let options = ["--port=127.0.0.1:PORT", "--path=DIR/a.sock"];
        let (manager, builder) = supervisor(&options).notify_server();
        let s = builder.env("FDSTORE", "8").sh(SLEEPS).start();
        let stored = manager.wait("FDSTORE=1");
        let name = format!("FDNAME=start_server.stream.127.0.0.1%3A{}", s.port(0));
        assert!(stored.lines().any(|line| line == name), "{stored:?}");
        assert!(manager.wait("FDSTORE=1").contains("/a.sock"));
        s.stop();
        assert!(
            s.path("a.sock").exists(),
            "the file of a stored socket was removed"
        );
    }

    #[test]
    fn without_a_store_nothing_is_stored() {
        let (manager, builder) = supervisor(&["--path=DIR/a.sock"]).notify_server();
        let s = builder.sh(SLEEPS).start();
        assert!(!manager.wait("READY=1").contains("FDSTORE"));
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn missing_manager_does_not_stop_the_service() {
        let (manager, builder) = supervisor(&[]).notify_server();
        drop(manager);
        let s = builder.sh(SLEEPS).start();
        s.hup();
        s.wait_generation(2);
        s.stop();
    }
}
