//! `LISTEN_FDS` and its companions, sd_listen_fds(3), beside `SERVER_STARTER_PORT`.

mod extensions {
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{Process, exports};

    use crate::fixtures::{start, supervisor};

    fn variables(worker: Process) -> [Option<String>; 3] {
        ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"].map(|name| worker.variable(name))
    }

    #[track_caller]
    fn told(worker: Process, count: usize, names: &str) {
        let expected = [count.to_string(), names.to_owned(), worker.to_string()];
        assert_eq!(variables(worker), expected.map(Some));
    }

    #[test]
    fn listen_pid_is_the_pid_of_each_generation() {
        let options = [
            "--port=127.0.0.1:PORT",
            "--port=127.0.0.1:uPORT",
            "--path=DIR/a.sock",
        ];
        let s = start(&options, SLEEPS);
        let (port, path) = (s.port(0), s.path("a.sock"));
        let names = format!("127.0.0.1_{port}:127.0.0.1_{port}:{}", path.display());
        for generation in 1..=3 {
            let worker = s.wait_generation(generation);
            told(worker, 3, &names);
            let numbers: Vec<i32> = exports(worker).iter().map(|export| export.1).collect();
            assert_eq!(numbers, [3, 4, 5]);
            s.hup();
        }
        s.wait_generation(4);
        s.stop();
    }

    #[test]
    fn contiguous_chosen_descriptors_are_named_in_their_order() {
        let s = start(
            &["--port=127.0.0.1:PORT=4", "--port=127.0.0.1:PORT2=3"],
            SLEEPS,
        );
        let names = format!("127.0.0.1_{}:127.0.0.1_{}", s.port(1), s.port(0));
        told(s.wait_generation(1), 2, &names);
        s.stop();
    }

    #[test]
    fn chosen_descriptors_with_a_gap_disable_listen_fds_with_one_warning() {
        for number in ["=7", "=0"] {
            let option = format!("--port=127.0.0.1:PORT{number}");
            let s = start(&[&option, "--port=127.0.0.1:PORT2"], SLEEPS);
            s.hup();
            let worker = s.wait_generation(2);
            assert_eq!(variables(worker), [const { None }; 3]);
            assert_eq!(exports(worker).len(), 2);
            let lines = s.lines();
            let said = lines
                .iter()
                .filter(|line| line.contains("LISTEN_FDS"))
                .count();
            assert_eq!(said, 1, "{lines:?}");
            s.stop();
        }
    }

    #[test]
    fn listen_fds_is_unset_without_sockets() {
        let s = start(&[], SLEEPS);
        assert_eq!(variables(s.wait_generation(1)), [const { None }; 3]);
        assert!(!s.lines().iter().any(|line| line.contains("LISTEN_FDS")));
        s.stop();
    }

    #[test]
    fn listen_variables_of_the_environment_and_the_envdir_are_overridden() {
        let s = supervisor(&["--port=127.0.0.1:PORT", "--envdir=DIR/env"])
            .file("env/LISTEN_FDS", "77\n")
            .file("env/LISTEN_PID", "1\n")
            .file("env/NOTIFY_SOCKET", "/nowhere\n")
            .env("LISTEN_FDNAMES", "other")
            .sh(SLEEPS)
            .start();
        let worker = s.wait_generation(1);
        told(worker, 1, &format!("127.0.0.1_{}", s.port(0)));
        assert_ne!(
            worker.variable("NOTIFY_SOCKET").as_deref(),
            Some("/nowhere")
        );
        s.stop();
    }

    #[test]
    fn listen_fds_is_valid_after_exec_and_invalid_after_fork() {
        // The tests above show the first half: their workers exec sleep. Here the shell has a child, whose pid is not
        // in LISTEN_PID.
        let s = start(
            &["--port=127.0.0.1:PORT"],
            "sh -c 'echo \"$LISTEN_PID $$\" >\"$DIR/pids\"'; up; exec sleep 1000",
        );
        let worker = s.wait_generation(1);
        s.eventually("the child has written its pid", || {
            s.read("pids").ends_with('\n')
        });
        let pids = s.read("pids");
        let (told, own) = pids.trim_end().split_once(' ').unwrap();
        assert_eq!(told, worker.to_string());
        assert_ne!(told, own);
        s.stop();
    }
}
