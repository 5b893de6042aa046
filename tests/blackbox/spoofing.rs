//! Another user plays the supervisor for a command, or a client for a supervisor. Neither trusts files, processes or
//! connections of another user, and neither waits for them.

mod extensions {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixListener;
    use std::process::Stdio;

    use nix::fcntl::{Flock, FlockArg};
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{
        OTHER_USER, PlantedFile, THIRD_USER, as_other_user, other_user_is_available,
    };

    use crate::fixtures::{Bystander, bare_supervisor};

    #[test]
    fn pid_file_of_another_user_is_not_used_to_stop_a_process() {
        if !other_user_is_available() {
            return;
        }
        let builder = bare_supervisor(&["--stop", "--pid-file=DIR/pid"]).shared_directory("");
        let path = builder.path("pid");
        let mut file = as_other_user(|| fs::File::create(&path).unwrap());
        let bystander = Bystander::start(Stdio::from(fs::File::open(&path).unwrap()));
        writeln!(file, "{}", bystander.process()).unwrap();
        let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        builder.run().expect(3, &["not by process "]);
        bystander.expect_unharmed();
    }

    #[test]
    fn restart_refuses_a_status_file_of_another_user() {
        if !other_user_is_available() {
            return;
        }
        let options = [
            "--interval=0",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
        ];
        let s = bare_supervisor(&options)
            .shared_directory("")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        let restart = |name: &str| {
            let status = format!("--status-file=DIR/{name}");
            s.command(&["--restart", "--pid-file=DIR/pid", &status])
        };
        for (planted, why) in [
            (PlantedFile::File, "it belongs to user 4242"),
            (PlantedFile::Fifo, "it belongs to user 4242"),
            (PlantedFile::Symlink, "it is a symbolic link"),
        ] {
            let name = format!("{planted:?}");
            let _open = planted.plant(&s.path(&name), &s.path("safe"));
            restart(&name).expect(1, &["cannot use status file ", why]);
        }
        assert_eq!(s.ups().len(), 1, "a worker was restarted");
        restart("status").expect(0, &[]);
        s.stop();
    }

    #[test]
    fn root_can_restart_the_supervisor_of_another_user() {
        if !other_user_is_available() {
            return;
        }
        let options = [
            "--interval=0",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--control=DIR/control",
        ];
        let s = bare_supervisor(&options)
            .shared_directory("")
            .as_user(THIRD_USER)
            .program(["--", "sleep", "1000"])
            .start();
        s.eventually("the supervisor is up", || s.status().len() == 1);
        assert_eq!(s.path("pid").metadata().unwrap().uid(), THIRD_USER);
        s.command(&[
            "--restart",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
        ])
        .expect(0, &[]);
        s.command(&["--restart", "--control=DIR/control"])
            .expect(0, &[]);
        s.command(&["--stop", "--pid-file=DIR/pid"]).expect(0, &[]);
        s.expect_exit(0);
    }

    #[test]
    fn command_refuses_a_supervisor_of_another_user() {
        if !other_user_is_available() {
            return;
        }
        let options = ["--interval=0", "--control=DIR/control"];
        let sleep = ["--", "sleep", "1000"];
        let theirs = bare_supervisor(&options)
            .shared_directory("")
            .as_user(OTHER_USER)
            .program(sleep);
        let theirs = theirs.spawn();
        theirs.eventually("the supervisor listens", || theirs.path("control").exists());
        let all = || fs::Permissions::from_mode(0o777);
        fs::set_permissions(theirs.path("control"), all()).unwrap();
        let socket = format!("--control={}", theirs.path("control").display());
        let refused = bare_supervisor(&["--status", &socket])
            .shared_directory("")
            .as_user(THIRD_USER)
            .run();
        let words = "is no supervisor of ours: it is user 4242's";
        refused.expect(1, &["what listens at ", words]);
        theirs.stop();
    }

    #[test]
    fn control_socket_turns_away_another_user_who_can_connect() {
        if !other_user_is_available() {
            return;
        }
        let s = bare_supervisor(&["--interval=0", "--control=DIR/control"])
            .shared_directory("")
            .sh(SLEEPS);
        let s = s.start();
        let mode = s.path("control").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(s.path("control"), all).unwrap();
        let socket = format!("--control={}", s.path("control").display());
        for command in ["--restart", "--status"] {
            let refused = bare_supervisor(&[command, &socket])
                .shared_directory("")
                .as_user(OTHER_USER)
                .run();
            // The client sees the end of the connection only.
            refused.expect_failure(&[]);
            s.wait_line("turned away a client of another user, 4242");
        }
        assert_eq!(s.ups().len(), 1);
        s.stop();
    }

    #[test]
    fn command_times_out_when_the_control_socket_does_not_answer() {
        if !other_user_is_available() {
            return;
        }
        // The queue of the listener is full.
        let options = ["--status", "--control=DIR/control", "--timeout=0.2"];
        let builder = bare_supervisor(&options).shared_directory("");
        let listener = UnixListener::bind(builder.path("control")).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let _waits = std::os::unix::net::UnixStream::connect(builder.path("control")).unwrap();
        builder.run().expect(4, &["no answer at "]);
    }

    #[test]
    fn command_fails_when_the_answer_never_ends() {
        if !other_user_is_available() {
            return;
        }
        let builder = bare_supervisor(&["--status", "--control=DIR/control"]).shared_directory("");
        let listener = UnixListener::bind(builder.path("control")).unwrap();
        let talker = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while client.write_all(&[b' '; 1 << 16]).is_ok() {}
        });
        builder
            .run()
            .expect(1, &["what answers at ", " never ends"]);
        talker.join().unwrap();
    }
}
