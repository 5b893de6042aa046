//! RLIMIT_NOFILE: the number of sockets, and the number of files that workers may open.

use server_starter_testing::Process;

/// The soft and the hard limit of open files of a process, as /proc has them.
fn open_files(process: Process) -> (u64, u64) {
    let limits = process.read("limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let line = line.unwrap_or_else(|| panic!("no limits of {process}: {limits}"));
    let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

mod extensions {
    use std::collections::BTreeSet;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use server_starter_testing::workers::{FAILS, SLEEPS};
    use server_starter_testing::{Process, SupervisorBuilder, exports, program, skipped};

    use super::open_files;
    use crate::fixtures::supervisor;

    /// `count` options `--path`, relative to the supervisor's directory, so that their keys are short.
    fn paths(count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("--path=s{number}"))
            .collect()
    }

    fn builder(options: &[String], limits: &str) -> SupervisorBuilder {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        supervisor(&options).before(limits)
    }

    /// Whether the hard limit of this process allows so many descriptors.
    fn may_have(descriptors: u64) -> bool {
        let have = open_files(Process(std::process::id() as i32)).1 >= descriptors;
        if !have {
            skipped(&format!(
                "the hard limit of open files is below {descriptors}"
            ));
        }
        have
    }

    #[test]
    fn supervisor_raises_its_soft_limit_and_workers_get_the_original() {
        let s = builder(&paths(1), "ulimit -Sn 77; ulimit -Hn 500")
            .sh("ulimit -Sn >soft; up; exec sleep 1000")
            .start();
        assert_eq!(open_files(s.process()), (500, 500));
        assert_eq!(open_files(s.wait_generation(1)), (77, 500));
        s.eventually("the log command has written its limit", || {
            s.read("soft") == "77\n"
        });
        s.hup();
        assert_eq!(open_files(s.wait_generation(2)), (77, 500));
        s.stop();
    }

    #[test]
    fn more_sockets_than_the_soft_limit_are_bound() {
        let ports = vec!["--port=127.0.0.1:0".to_owned(); 200];
        let s = builder(&ports, "ulimit -Sn 64; ulimit -Hn 500")
            .sh(SLEEPS)
            .start();
        // With 64 a worker could not load its libraries: it gets 64 more than its sockets.
        s.wait_line("workers may open 267 files, not 64, which their sockets would use up");
        let worker = s.wait_generation(1);
        assert_eq!(open_files(worker), (267, 500));
        let found = exports(worker);
        let tcp = |export: &&(String, i32, String)| export.2.starts_with("tcp 127.0.0.1:");
        assert_eq!(found.iter().filter(tcp).count(), 200);
        s.hup();
        let second = s.wait_generation(2);
        assert_eq!(exports(second), found);
        assert_eq!(open_files(second), (267, 500));
        s.stop();
    }

    #[test]
    fn worker_with_a_socket_on_a_high_number_gets_the_original_limit() {
        let high = ["--port=127.0.0.1:0=300".to_owned()];
        let s = builder(&high, "ulimit -Sn 64; ulimit -Hn 500")
            .sh(SLEEPS)
            .start();
        let worker = s.wait_generation(1);
        assert_eq!(open_files(worker), (64, 500));
        assert!(
            exports(worker)[0].2.starts_with("tcp "),
            "{:?}",
            exports(worker)
        );
        s.stop();
    }

    #[test]
    fn more_sockets_than_the_hard_limit_are_refused_and_nothing_is_left() {
        let mut options = paths(100);
        options.push("--pid-file=DIR/pid".to_owned());
        let refused = builder(&options, "ulimit -Sn 64; ulimit -Hn 100")
            .program(["--", "true"])
            .run();
        refused.expect(1, &["descriptor 102", "open files is 100 ", "LimitNOFILE="]);
        assert!(!refused.path("s0").exists() && !refused.path("pid").exists());
        assert!(!refused.stderr.contains("starting new worker"), "{refused}");
    }

    #[test]
    fn log_command_gets_the_original_limit() {
        let s = supervisor(&["--log-file=| ulimit -Sn >soft; exec cat >log"])
            .log("log")
            .before("ulimit -Sn 77; ulimit -Hn 500")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        assert_eq!(s.read("soft"), "77\n");
        s.stop();
    }

    #[test]
    fn limit_set_from_outside_is_for_later_workers() {
        let s = builder(&paths(1), "ulimit -Sn 77; ulimit -Hn 500")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        let mut prlimit = Command::new("prlimit");
        prlimit.args([
            format!("--pid={}", s.process()),
            "--nofile=99:400".to_owned(),
        ]);
        if !prlimit.status().is_ok_and(|status| status.success()) {
            skipped("a limit from outside needs prlimit(1)");
            return;
        }
        s.hup();
        assert_eq!(open_files(s.wait_generation(2)), (99, 400));
        s.stop();
    }

    #[test]
    fn two_thousand_sockets_survive_a_reload() {
        if !may_have(4096) {
            return;
        }
        let s = builder(&paths(2000), "ulimit -Sn 1024").sh(SLEEPS).start();
        let first = s.wait_generation(1);
        let sockets = |worker: Process| {
            let mut descriptors = worker.descriptors();
            descriptors.retain(|number, what| *number > 2 && what.starts_with("socket:"));
            descriptors
        };
        let (found, before) = (sockets(first), s.process().descriptors().len());
        assert!(found.keys().copied().eq(3..2003), "{found:?}");
        let different: BTreeSet<&String> = found.values().collect();
        assert_eq!(different.len(), 2000);
        let waiting = UnixStream::connect(s.path("s1999")).unwrap();
        s.hup();
        assert_eq!(sockets(s.wait_generation(2)), found);
        s.eventually("the supervisor has no more descriptors than before", || {
            s.process().descriptors().len() == before
        });
        UnixStream::connect(s.path("s0")).unwrap();
        drop(waiting);
        s.stop();
        assert!(!s.path("s0").exists() && !s.path("s1999").exists());
    }

    #[test]
    fn too_many_sockets_for_one_variable_are_refused() {
        if !may_have(8192) {
            return;
        }
        let mut options = paths(1500);
        // Relative paths: only the keys are long.
        let long = format!("--path={}", "./".repeat(40));
        options
            .iter_mut()
            .for_each(|option| *option = option.replace("--path=", &long));
        let failed = builder(&options, ":").sh(FAILS).run();
        failed.expect(
            1,
            &["failed to exec /bin/sh: Argument list too long (SERVER_STARTER_PORT has "],
        );
        assert!(!failed.path("s0").exists());
    }

    #[test]
    fn more_generations_drain_than_the_soft_limit_allows_descriptors() {
        let worker = "trap '' TERM; up; exec sleep 1000";
        let s = supervisor(&[])
            .before("ulimit -Sn 24; ulimit -Hn 500")
            .sh(worker)
            .start();
        for generation in 1..30 {
            s.hup();
            s.wait_generations(&(1..=generation + 1).collect::<Vec<_>>());
        }
        assert!(!s.log().contains("NOTIFY_SOCKET"), "{}", s.log());
        s.term();
        s.wait_line_starting("received TERM");
        for worker in s.process().children() {
            worker.signal(nix::sys::signal::Signal::SIGKILL);
        }
        s.expect_exit(0);
    }

    #[test]
    fn supervisor_that_is_a_worker_uses_the_inherited_sockets() {
        let options = ["--port=127.0.0.1:0".to_owned()];
        let inner = "exec \"$INNER\" --interval=0 --status-file=inner -- /bin/sh -c \
                     'ulimit -Sn >soft; exec sleep 1000'";
        let s = builder(&options, "ulimit -Sn 77; ulimit -Hn 500")
            .env("INNER", program!().path())
            .sh(inner)
            .spawn();
        s.eventually("the inner worker runs", || s.read("soft") == "77\n");
        let inner: Vec<_> = s.process().children();
        assert!(matches!(inner[..], [inner] if open_files(inner) == (500, 500)));
        s.process().signal(nix::sys::signal::Signal::SIGTERM);
        s.expect_exit(0);
    }
}
