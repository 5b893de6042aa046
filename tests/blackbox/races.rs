//! Another user plants files under the names that the supervisor uses, before it or during its start. The supervisor
//! neither writes to them nor removes them.

mod extensions {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::path::Path;

    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{
        NotifyClient, OTHER_USER, PlantedFile, RaceAttacker, SupervisorBuilder, THIRD_USER,
        as_other_user, file_identity, other_user_is_available,
    };

    use crate::fixtures::bare_supervisor;

    /// With a directory `theirs` of the other user, too.
    fn with_theirs(builder: SupervisorBuilder) -> SupervisorBuilder {
        fs::create_dir(builder.path("theirs")).unwrap();
        chown(builder.path("theirs"), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
        builder
    }

    #[track_caller]
    fn is_safe(safe: &Path, victim: &str, when: &str) {
        let names = fs::read_dir(safe)
            .unwrap()
            .map(|it| it.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["victim"], "{when}");
        let path = safe.join("victim");
        assert_eq!(fs::read_to_string(&path).unwrap(), victim, "{when}");
        let meta = path.metadata().unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o644), "{when}");
    }

    #[test]
    fn planted_file_is_refused_and_not_changed() {
        if !other_user_is_available() {
            return;
        }
        let cases = [
            ("--pid-file", "4711\n", "cannot use pid file "),
            ("--log-file", "", "cannot use log file "),
            ("--status-file", "no status", "cannot use status file "),
            ("--path", "", "refusing to replace "),
            ("--control", "", "refusing to replace "),
        ];
        for (option, victim, words) in cases {
            for planted in PlantedFile::ALL {
                let option_and_name = format!("{option}=DIR/planted");
                let options = [&option_and_name, "--interval=20", "--start-attempts=1"];
                let builder = bare_supervisor(&options)
                    .shared_directory(victim)
                    .program(["--", "false"]);
                let (at, safe) = (builder.path("planted"), builder.path("safe"));
                let open = planted.plant(&at, &safe);
                if option == "--status-file" && planted == PlantedFile::File {
                    // without O_CREAT, to which fs.protected_regular would apply
                    let mut theirs = fs::File::options().write(true).open(&at).unwrap();
                    theirs.write_all(b"no status either").unwrap();
                }
                let before = file_identity(&at);
                let refused = builder.run();
                let when = format!("{option} and {planted:?}\n{refused}");
                assert!(refused.stderr.contains(words), "{when}");
                assert_eq!(refused.code(), Some(1), "{when}");
                assert_eq!(file_identity(&at), before, "{when}");
                is_safe(&safe, victim, &when);
                drop(open);
            }
        }
    }

    #[test]
    fn stale_file_is_replaced_and_not_written_to() {
        if !other_user_is_available() {
            return;
        }
        for planted in [PlantedFile::File, PlantedFile::HardLink] {
            let options = [
                "--interval=0",
                "--status-file=DIR/status",
                "--path=DIR/a.sock",
                "--control=DIR/control",
            ];
            let victim = "1:4711\n";
            let builder = bare_supervisor(&options)
                .shared_directory(victim)
                .sh(SLEEPS);
            let open = planted.plant(&builder.path("status"), &builder.path("safe"));
            for name in ["a.sock", "control"] {
                // The socket does not listen any more.
                drop(PlantedFile::Socket.plant(&builder.path(name), &builder.path("safe")));
            }
            let s = builder.start();
            s.wait_generation(1);
            for name in ["status", "a.sock", "control"] {
                assert_eq!(s.path(name).metadata().unwrap().uid(), 0, "{name}");
            }
            if let Some(theirs) = open.downcast_ref::<fs::File>() {
                assert_eq!(theirs.metadata().unwrap().len(), 0);
            }
            s.stop();
            is_safe(&s.path("safe"), victim, "at the end");
        }
    }

    #[test]
    fn name_of_the_temporary_status_file_cannot_be_predicted() {
        if !other_user_is_available() {
            return;
        }
        // The name was STATUS.PID once, and the shell has the pid of the supervisor. The directory is sticky: the
        // supervisor could not remove the link.
        let take = format!(
            "setpriv --reuid={OTHER_USER} --regid={OTHER_USER} --clear-groups ln -s safe/new status.$$"
        );
        let options = ["--interval=0", "--status-file=DIR/status"];
        let builder = bare_supervisor(&options)
            .shared_directory("")
            .before(&take)
            .as_user(THIRD_USER);
        let s = builder.program(["--", "sleep", "1000"]).start();
        s.eventually("there is a status file", || s.status().len() == 1);
        s.hup();
        s.wait_generation(2);
        assert!(s.path(&format!("status.{}", s.process())).is_symlink());
        s.stop();
        is_safe(&s.path("safe"), "", "at the end");
    }

    #[test]
    fn swapping_a_file_during_the_start_gains_nothing() {
        if !other_user_is_available() {
            return;
        }
        for option in [
            "--pid-file",
            "--log-file",
            "--status-file",
            "--path",
            "--control",
        ] {
            let mut rounds = 0;
            for _ in 0..12 {
                let option_and_name = format!("{option}=DIR/name");
                let options = [&option_and_name, "--interval=20", "--start-attempts=1"];
                let builder = bare_supervisor(&options)
                    .shared_directory("")
                    .program(["--", "false"]);
                let attacker = RaceAttacker::swapping(builder.path("name"), &builder.path("safe"));
                let ended = builder.run();
                rounds += attacker.rounds();
                drop(attacker);
                assert_eq!(ended.code(), Some(1), "{ended}");
                is_safe(&ended.path("safe"), "", &format!("{option}\n{ended}"));
            }
            assert!(rounds > 100, "{rounds}");
        }
    }

    #[test]
    fn log_file_is_not_reopened_through_a_link() {
        if !other_user_is_available() {
            return;
        }
        // Not sticky, and owned by the other user, as the log directory of a web server often is.
        let options = ["--interval=0", "--log-file=DIR/theirs/log"];
        let s = with_theirs(bare_supervisor(&options).shared_directory(""))
            .sh(SLEEPS)
            .start();
        s.wait_up(1);
        let (log, old, new) = (
            s.path("theirs/log"),
            s.path("theirs/old"),
            s.path("safe/new"),
        );
        as_other_user(|| {
            fs::rename(&log, old).unwrap();
            symlink(new, &log).unwrap();
        });
        s.signal(nix::sys::signal::Signal::SIGUSR1);
        s.eventually("the reason is in the old file", || {
            s.read("theirs/old")
                .contains("theirs/log: it is a symbolic link, in a directory where others can")
        });
        s.hup();
        s.wait_up(2);
        s.stop();
        is_safe(&s.path("safe"), "", "at the end");
        let written = s.read("theirs/old");
        assert!(written.contains("received HUP"), "{written}");
    }

    #[test]
    fn owner_is_changed_for_the_supervisors_socket_only() {
        if !other_user_is_available() {
            return;
        }
        let mine = format!("--path-user={OTHER_USER}");
        let options = [
            "--path=DIR/theirs/a.sock",
            &mine,
            "--interval=20",
            "--start-attempts=1",
        ];
        for _ in 0..100 {
            let builder = with_theirs(bare_supervisor(&options).shared_directory(""))
                .program(["--", "false"]);
            let (theirs, safe) = (builder.path("theirs"), builder.path("safe"));
            PlantedFile::HardLink.plant(&theirs.join("link"), &safe);
            let [socket, link] = ["a.sock", "link"].map(|name| theirs.join(name));
            let mut swapped = false;
            let attacker = RaceAttacker::start(move || {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                swapped =
                    swapped || renameat2(AT_FDCWD, &link, AT_FDCWD, &socket, exchange).is_ok();
            });
            let ended = builder.run();
            drop(attacker);
            is_safe(&safe, "", &format!("{ended}"));
        }
    }

    #[test]
    fn notification_sockets_are_in_a_directory_closed_to_other_users() {
        if !other_user_is_available() {
            return;
        }
        let s = bare_supervisor(&["--interval=0"])
            .shared_directory("")
            .sh(SLEEPS)
            .start();
        let socket = NotifyClient::of(s.wait_up(1)).path;
        let place = socket.parent().unwrap();
        assert_eq!(place.parent().unwrap(), s.path(""), "where TMPDIR says");
        let tried = as_other_user(|| {
            [
                fs::rename(place, place.with_extension("away")),
                fs::remove_dir(place),
                fs::write(place.join("2"), ""),
                fs::remove_file(&socket),
            ]
        });
        assert!(tried.iter().all(Result::is_err), "{tried:?}");
        s.hup();
        s.wait_up(2);
        s.stop();

        // Another user could rename a directory above it.
        for name in ["theirs/inner", "safe/link"] {
            let builder =
                with_theirs(bare_supervisor(&["--interval=0"]).shared_directory("")).sh(SLEEPS);
            let tmp = fs::canonicalize(builder.path("..")).unwrap();
            let (inner, theirs) = (builder.path("theirs/inner"), builder.path("theirs"));
            fs::create_dir(&inner).unwrap();
            symlink(&inner, builder.path("safe/link")).unwrap();
            let chosen = builder.path(name);
            let s = builder.env("TMPDIR", &chosen).start();
            s.wait_line_starting(&format!(
                "no place for notification sockets in {}: others could rename in {}; using {}",
                chosen.display(),
                theirs.display(),
                tmp.display()
            ));
            s.stop();
        }
    }
}
