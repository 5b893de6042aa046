//! Processes that look like workers of a supervisor that was killed, and status files that name other processes: none is
//! signalled, and none of its descriptors is taken.

mod extensions {
    use std::fs::{self, File, Permissions};
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Child, Command};
    use std::time::{Duration, SystemTime};

    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{
        OTHER_USER, Process, SupervisorBuilder, THIRD_USER, eventually, other_user_is_available,
    };

    use crate::fixtures::{NOTIFY, start, supervisor};

    const GENERATION: (&str, &str) = ("SERVER_STARTER_GENERATION", "1");
    const SOCKETS: (&str, &str) = ("SERVER_STARTER_PORT", "127.0.0.1:PORT=3");

    /// A process with a listening socket on descriptor 3 that no supervisor has started.
    struct Impostor {
        child: Child,
        port: u16,
        /// The socket in its parent, which is this process.
        listener: Option<TcpListener>,
    }

    impl Impostor {
        /// With these variables, in which `PORT` stands for its port.
        fn start(variables: &[(&str, &str)]) -> Self {
            Self::start_as(variables, None)
        }

        fn start_as(variables: &[(&str, &str)], user: Option<u32>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "exec 3<&0 0</dev/null; exec sleep 1000"]);
            command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
            for (name, value) in variables {
                command.env(name, value.replace("PORT", &port.to_string()));
            }
            if let Some(user) = user {
                command.uid(user).gid(user);
            }
            let child = command.spawn().unwrap();
            let impostor = Self {
                child,
                port,
                listener: Some(listener),
            };
            let process = impostor.process();
            eventually("it sleeps", || process.name() == "sleep");
            impostor
        }

        /// Its parent does not hold the socket: it looks like a worker whose supervisor was killed.
        fn orphan(variables: &[(&str, &str)]) -> Self {
            let mut impostor = Self::start(variables);
            impostor.listener = None;
            impostor
        }

        fn process(&self) -> Process {
            Process(i32::try_from(self.child.id()).unwrap())
        }

        /// A supervisor for its address, and a status file that names it and was written after its start.
        fn supervisor(&self) -> SupervisorBuilder {
            let port = format!("--port=127.0.0.1:{}", self.port);
            let builder = supervisor(&[&port]).sh(SLEEPS);
            let builder = builder.file("status", &format!("1:{}\n", self.process()));
            let mode = Permissions::from_mode(0o644);
            fs::set_permissions(builder.path("status"), mode).unwrap();
            builder
        }

        /// The supervisor finds its address in use, for this reason, and the process lives.
        #[track_caller]
        fn expect_left_alone(&self, builder: SupervisorBuilder, why: &str) {
            let done = builder.run();
            done.expect(1, &["in use", why]);
            assert!(!done.stderr.contains("taking over"), "{}", done.stderr);
            assert!(self.process().is_alive());
        }
    }

    impl Drop for Impostor {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn set_age(path: &Path, age: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    /// Each of the other tests differs in one point.
    #[test]
    fn a_process_that_is_like_a_worker_in_all_points_is_taken_over() {
        let process = Impostor::orphan(&[GENERATION, SOCKETS]);
        let s = process.supervisor().spawn();
        s.wait_line_starting("taking over 1 worker of a supervisor that was killed: 1:");
        s.wait_line(&format!(
            "old worker {} died, status:unknown",
            process.process()
        ));
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_process_with_other_variables_is_left_alone() {
        const MISSING: &str = "its environment has no SERVER_STARTER_GENERATION";
        let other_generation = ("SERVER_STARTER_GENERATION", "2");
        let no_number = ("SERVER_STARTER_PORT", "127.0.0.1:PORT");
        let no_sockets = ("SERVER_STARTER_PORT", "");
        for (variables, why) in [
            (&[][..], MISSING),
            (&[GENERATION], MISSING),
            (&[SOCKETS], MISSING),
            (&[GENERATION, no_number], MISSING),
            (&[other_generation, SOCKETS], "it is of generation 2"),
            (&[GENERATION, no_sockets], "it listens on no address of"),
        ] {
            let process = Impostor::orphan(variables);
            process.expect_left_alone(process.supervisor(), why);
        }
    }

    #[test]
    fn a_process_that_was_started_after_the_file_was_written_is_left_alone() {
        let process = Impostor::orphan(&[GENERATION, SOCKETS]);
        let builder = process.supervisor();
        set_age(&builder.path("status"), Duration::from_secs(3600));
        let why = "it was started after the status file was written";
        process.expect_left_alone(builder, why);
    }

    #[test]
    fn a_process_whose_parent_holds_the_socket_is_left_alone() {
        let process = Impostor::start(&[GENERATION, SOCKETS]);
        process.expect_left_alone(process.supervisor(), "its parent, process ");
        assert!(process.listener.is_some());
    }

    #[test]
    fn a_process_with_another_socket_is_left_alone() {
        let process = Impostor::orphan(&[GENERATION, SOCKETS]);
        let builder = supervisor(&["--port=127.0.0.1:PORT"]).sh(SLEEPS);
        let builder = builder.file("status", &format!("1:{}\n", process.process()));
        let s = builder.start();
        s.wait_line_starting(&format!(
            "process {}, generation 1 in the status file, is left alone: it listens on no address of",
            process.process()
        ));
        s.wait_generation(1);
        s.stop();
        assert!(process.process().is_alive());
    }

    #[test]
    fn a_process_of_another_user_is_left_alone() {
        if !other_user_is_available() {
            return;
        }
        let mut process = Impostor::start_as(&[GENERATION, SOCKETS], Some(OTHER_USER));
        process.listener = None;
        let builder = process
            .supervisor()
            .shared_directory("")
            .as_user(THIRD_USER);
        chown(builder.path("status"), Some(THIRD_USER), None).unwrap();
        process.expect_left_alone(builder, "it belongs to user 4242");
    }

    #[test]
    fn no_process_of_an_untrusted_status_file_is_taken_over() {
        let process = Impostor::orphan(&[GENERATION, SOCKETS]);
        let refused = |change: &dyn Fn(&Path), why: &str| {
            let builder = process.supervisor();
            change(&builder.path("status"));
            let why = format!("cannot be trusted: {why}");
            process.expect_left_alone(builder, &why);
        };
        let set_mode = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o666));
        refused(&|path| set_mode(path).unwrap(), "others can write to it");
        let link = |path: &Path| {
            let target = path.with_extension("target");
            fs::rename(path, &target).and_then(|()| symlink(target, path))
        };
        refused(&|path| link(path).unwrap(), "it is a symbolic link");
        let second_name = |path: &Path| fs::hard_link(path, path.with_extension("other"));
        refused(&|path| second_name(path).unwrap(), "it has another name");
        let entry = format!("1:{}\n", process.process());
        for (content, why) in [
            (format!("{entry}garbage\n"), "it holds something else"),
            (
                format!("{entry}1:-{}\n", process.process()),
                "it holds something else",
            ),
            (entry.repeat(10_000), "it is too long"),
        ] {
            refused(&|path| fs::write(path, &content).unwrap(), why);
        }
        if other_user_is_available() {
            let give_away = |path: &Path| chown(path, Some(OTHER_USER), None);
            refused(&|path| give_away(path).unwrap(), "it belongs to user 4242");
        }
    }

    #[test]
    fn workers_of_a_live_supervisor_are_left_alone() {
        let port = "--port=127.0.0.1:PORT";
        let s = start(&[port], SLEEPS);
        let worker = s.wait_generation(1);
        s.dir().shell("cp -p status copy", &[]);
        for (name, why) in [
            (
                "copy",
                format!("its parent, process {}, holds its socket", s.process()),
            ),
            ("status", "a running supervisor keeps it".to_owned()),
        ] {
            let file = format!("--status-file=DIR/{name}");
            let second = s.command(&[&file, port, "--", "sleep", "1000"]);
            let holder = format!("held by process {} (start_server)", s.process());
            second.expect(1, &["in use", &why, &holder]);
            assert!(worker.is_alive());
        }
        assert_eq!(s.wait_generation(1), worker);
        s.stop();
    }

    /// They are not its children.
    #[test]
    fn workers_that_a_live_supervisor_has_taken_over_are_left_alone() {
        let port = "--port=127.0.0.1:PORT";
        let mut s = supervisor(&[port, NOTIFY[0], NOTIFY[1]]).sh(SLEEPS).spawn();
        s.wait_notifying(1).1.send("READY=1");
        let worker = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_up(2);
        let second = s.command(&["--status-file=DIR/status", port, "--", "sleep", "1000"]);
        second.expect(1, &["in use", "a running supervisor keeps it"]);
        assert!(worker.is_alive());
        s.stop();
    }
}
