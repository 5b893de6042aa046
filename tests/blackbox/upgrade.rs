//! Upgrades in place: the supervisor executes another release of itself in the same process.

mod extensions {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use nix::sys::signal::Signal;
    use server_starter_testing::upgrade::SAME_PROGRAM;
    use server_starter_testing::workers::{GRACEFUL, SLEEPS};
    use server_starter_testing::{NotifyClient, PidNamespace, Process, Supervisor, eventually};

    use crate::fixtures::{CONTROL, UPGRADE, hello, upgradable};
    use crate::under_load::under_load;

    /// The open files of a process, and how often each is open.
    fn open_files(process: Process) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for target in process.descriptors().into_values() {
            *kinds.entry(target).or_default() += 1;
        }
        kinds
    }

    #[test]
    fn upgrade_changes_nothing_but_the_program() {
        let options = [
            "--port=127.0.0.1:PORT",
            "--path=DIR/a.sock",
            "--pid-file=DIR/pid",
            "--log-file=| cat >>DIR/log",
        ];
        let s = upgradable(&options).log("log").sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let pid_file = s.read("pid");
        // The first upgrade closes descriptors that the supervisor inherited without need.
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(1);
        let before = s.process().descriptors();
        for count in 2..=4 {
            s.replace_program(SAME_PROGRAM);
            let pid = format!("(pid:{})\n", s.process());
            let done = s.command(&UPGRADE);
            let version = env!("CARGO_PKG_VERSION");
            done.expect(0, &[]);
            let said = format!("upgraded from {version} to {version} {pid}");
            assert_eq!(done.stdout, said);
            s.wait_upgrades(count);
        }
        let program = s.process().executable();
        assert_eq!(
            program,
            Some(s.path("start_server")),
            "the program is a deleted file"
        );
        assert_eq!(s.wait_generation(1), worker, "the worker was replaced");
        assert_eq!(s.read("pid"), pid_file);
        s.settle();
        let after = s.process().descriptors();
        assert_eq!(after.len(), before.len(), "{before:?} {after:?}");
        for fd in [3, 4] {
            assert_eq!(
                after.get(&fd),
                before.get(&fd),
                "a socket was moved to another number"
            );
        }
        // The pid file is still locked.
        let second = s.command(&["--pid-file=DIR/pid", "--", "sleep", "1000"]);
        second.expect(1, &["is locked by a running supervisor"]);

        s.hup();
        s.wait_line(&format!("old worker {worker} died, status:15"));
        let next = s.wait_generation(2);
        let variable = next.variable("START_SERVER_STATE");
        assert_eq!(
            variable, None,
            "the state of the supervisor was passed to a worker"
        );
        assert!(!has_descriptor_of_supervisor(&s, next));
        s.stop();
        for file in ["pid", "a.sock", "control", "status"] {
            assert!(!s.path(file).exists(), "{file}");
        }
    }

    /// Whether a worker has a descriptor of the supervisor beyond its streams and its sockets.
    fn has_descriptor_of_supervisor(s: &Supervisor, worker: Process) -> bool {
        let supervisor = open_files(s.process());
        let worker = worker.descriptors();
        worker
            .iter()
            .any(|(number, target)| *number > 4 && supervisor.contains_key(target))
    }

    #[test]
    fn usr2_upgrades() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        for count in 1..=2 {
            s.signal(Signal::SIGUSR2);
            s.wait_upgrades(count);
        }
        assert_eq!(s.wait_generation(1), worker);
        s.wait_output("received USR2, upgrading this program");
        s.stop();
    }

    /// KILL would lose the requests that the worker has accepted. So the test sends TERM, which the supervisor does not
    /// expect either.
    #[test]
    fn no_request_fails_across_upgrades_reloads_and_deaths() {
        let options = ["--interval=0.05", "--port=127.0.0.1:PORT"];
        let s = upgradable(&options).program(["--".into(), hello()]).start();
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(1);
        let descriptors = s.process().descriptors().len();
        let mut generation = 1;
        under_load(&s.client(), || {
            for round in 1..=20 {
                s.replace_program(SAME_PROGRAM);
                s.process().signal(Signal::SIGUSR2);
                s.wait_upgrades(1 + round);
                s.process().signal(Signal::SIGHUP);
                generation += 1;
                let worker = s.wait_generation(generation);
                if round % 4 == 0 {
                    worker.signal(Signal::SIGTERM);
                    generation += 1;
                    s.wait_generation(generation);
                }
            }
        });
        assert_eq!(generation, 26);
        assert_eq!(s.client().hello(), (26, s.wait_generation(26)));
        s.eventually("no descriptor has leaked", || {
            s.process().descriptors().len() == descriptors
        });
        assert!(s.lines().iter().all(|line| !line.contains("refused")));
        s.stop();
    }

    /// The exec of an upgrade comes while the worker of a reload is starting.
    #[test]
    fn concurrent_upgrades_and_reloads_all_succeed() {
        let options = ["--ready=notify", "--port=127.0.0.1:PORT"];
        let s = upgradable(&options).sh(GRACEFUL).spawn();
        let first = s.wait_up(1);
        NotifyClient::of(first).send("READY=1");
        s.wait_generation(1);
        let restart = s.spawn_command(&["--restart", CONTROL]);
        let second = s.wait_up(2);
        s.command(&UPGRADE).expect(0, &[]);
        NotifyClient::of(second).send("STATUS=still here\nREADY=1");
        let restart = restart.wait();
        let alone = ["generation 2: worker ", "generation 2 is alone"];
        restart.expect(0, &alone);
        assert_eq!(s.wait_generation(2), second);
        s.stop();
    }

    #[test]
    fn daemon_is_upgraded() {
        let options = ["--daemonize", "--log-file=DIR/log", "--pid-file=DIR/pid"];
        let (done, s) = upgradable(&options).log("log").sh(SLEEPS).daemonize();
        done.expect(0, &[]);
        let worker = s.wait_generation(1);
        s.replace_program(SAME_PROGRAM);
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(s.wait_generation(1), worker);
        std::fs::rename(s.path("log"), s.path("log.1")).unwrap();
        s.signal(Signal::SIGUSR1);
        eventually("the log file exists again", || s.path("log").exists());
        s.stop();
    }

    #[test]
    fn process_1_of_a_container_is_upgraded() {
        if !PidNamespace::is_available() {
            return;
        }
        let s = upgradable(&[]).sh(GRACEFUL).process_1().start();
        s.wait_generation(1);
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(1);
        s.signal(Signal::SIGHUP);
        s.wait_generation(2);
        s.stop();
    }

    /// A line that waits for a slow reader is written by one program or by the next, not by both.
    #[test]
    fn no_log_line_is_written_twice() {
        const CALLS: usize = 3000;
        const CALL: &[u8] = b"{\"method\":\"org.serverstarter.Supervisor.Upgrade\"}\0";
        let s = upgradable(&[]).before("mkfifo lines; exec 2<>lines");
        let s = s.sh(SLEEPS).start();
        let mut lines = File::open(s.path("lines")).unwrap();
        // two lines each, far more than the fifo has room for
        std::fs::rename(s.path("start_server"), s.path("away")).unwrap();
        let mut client = BufReader::new(UnixStream::connect(s.path("control")).unwrap());
        for _ in 0..CALLS {
            client.get_mut().write_all(CALL).unwrap();
            assert_ne!(client.read_until(0, &mut Vec::new()).unwrap(), 0);
        }
        std::fs::rename(s.path("away"), s.path("start_server")).unwrap();

        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut buffer = [0; 512];
            while let Ok(read @ 1..) = lines.read(&mut buffer) {
                text.extend_from_slice(&buffer[..read]);
                if !hurries.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1)); // a slow reader
                }
            }
            String::from_utf8(text).unwrap()
        });
        let upgraded = s.command(&UPGRADE);
        hurry.store(true, Ordering::Relaxed);
        upgraded.expect(0, &[]);
        s.stop();
        let text = reader.join().unwrap();
        let count = |of: &str| text.lines().filter(|line| line.starts_with(of)).count();
        assert_eq!(count("upgrade refused"), CALLS);
        assert_eq!(count("asked to upgrade"), CALLS + 1);
        assert_eq!(count("start_server (pid:"), 2);
    }
}
