//! Another user at the places of our files: they have been there first, or they come in between. What is not ours is
//! neither written to nor removed.

mod better {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::path::Path;

    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

    use crate::harness::{
        Bait, Nuisance, OTHER, SLEEPS, STRANGER, Setup, Voice, as_stranger, as_user,
        have_strangers, like_tmp, what_is,
    };

    /// With a directory of the stranger's, too.
    fn with_theirs(setup: Setup) -> Setup {
        fs::create_dir(setup.path("theirs")).unwrap();
        chown(setup.path("theirs"), Some(STRANGER), Some(STRANGER)).unwrap();
        setup
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
    fn what_a_stranger_has_put_there_is_refused_and_left_alone() {
        if !have_strangers() {
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
            for bait in Bait::ALL {
                let option_and_name = format!("{option}=DIR/bait");
                let options = [&option_and_name, "--interval=20", "--start-attempts=1"];
                let setup = like_tmp(&options, victim).program(["--", "false"]);
                let (at, safe) = (setup.path("bait"), setup.path("safe"));
                let open = bait.lay(&at, &safe);
                if option == "--status-file" && bait == Bait::File {
                    // Not with O_CREAT, which fs.protected_regular is about.
                    let mut theirs = fs::File::options().write(true).open(&at).unwrap();
                    theirs.write_all(b"no status either").unwrap();
                }
                let before = what_is(&at);
                let refused = setup.run();
                let when = format!("{option} and {bait:?}\n{refused}");
                assert!(refused.stderr.contains(words), "{when}");
                assert_eq!(refused.code(), Some(1), "{when}");
                assert_eq!(what_is(&at), before, "{when}");
                is_safe(&safe, victim, &when);
                drop(open);
            }
        }
    }

    #[test]
    fn what_is_stale_is_replaced_and_not_written_to() {
        if !have_strangers() {
            return;
        }
        for bait in [Bait::File, Bait::HardLink] {
            let options = [
                "--interval=0",
                "--status-file=DIR/status",
                "--path=DIR/a.sock",
                "--control=DIR/control",
            ];
            let victim = "1:4711\n";
            let setup = like_tmp(&options, victim).sh(SLEEPS);
            let open = bait.lay(&setup.path("status"), &setup.path("safe"));
            for name in ["a.sock", "control"] {
                // Nobody listens any more.
                drop(Bait::Socket.lay(&setup.path(name), &setup.path("safe")));
            }
            let s = setup.start();
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
    fn the_name_of_the_temporary_status_file_cannot_be_taken() {
        if !have_strangers() {
            return;
        }
        // It was STATUS.PID once, and the shell becomes the supervisor. The directory is sticky: the
        // supervisor could not remove what it finds there.
        let take = format!(
            "setpriv --reuid={STRANGER} --regid={STRANGER} --clear-groups ln -s safe/new status.$$"
        );
        let options = ["--interval=0", "--status-file=DIR/status"];
        let setup = as_user(like_tmp(&options, "").before(&take), OTHER);
        let s = setup.program(["--", "sleep", "1000"]).start();
        s.eventually("there is a status file", || s.status().len() == 1);
        s.hup();
        s.wait_generation(2);
        assert!(s.path(&format!("status.{}", s.process())).is_symlink());
        s.stop();
        is_safe(&s.path("safe"), "", "at the end");
    }

    #[test]
    fn nothing_is_won_by_swapping_at_the_right_moment() {
        if !have_strangers() {
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
                let setup = like_tmp(&options, "").program(["--", "false"]);
                let nuisance = Nuisance::swapping(setup.path("name"), &setup.path("safe"));
                let ended = setup.run();
                rounds += nuisance.rounds();
                drop(nuisance);
                assert_eq!(ended.code(), Some(1), "{ended}");
                is_safe(&ended.path("safe"), "", &format!("{option}\n{ended}"));
            }
            assert!(rounds > 100, "{rounds}");
        }
    }

    #[test]
    fn a_log_file_is_not_reopened_through_a_link() {
        if !have_strangers() {
            return;
        }
        // Not sticky, but theirs: as that of a web server's logs often is.
        let options = ["--interval=0", "--log-file=DIR/theirs/log"];
        let s = with_theirs(like_tmp(&options, "")).sh(SLEEPS).start();
        s.wait_up(1);
        let (log, old, new) = (
            s.path("theirs/log"),
            s.path("theirs/old"),
            s.path("safe/new"),
        );
        as_stranger(|| {
            fs::rename(&log, old).unwrap();
            symlink(new, &log).unwrap();
        });
        s.signal(nix::sys::signal::Signal::SIGUSR1);
        s.eventually("it says why not, where it wrote before", || {
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
    fn an_owner_is_given_to_our_socket_and_to_nothing_else() {
        if !have_strangers() {
            return;
        }
        let mine = format!("--path-user={STRANGER}");
        let options = [
            "--path=DIR/theirs/a.sock",
            &mine,
            "--interval=20",
            "--start-attempts=1",
        ];
        for _ in 0..100 {
            let setup = with_theirs(like_tmp(&options, "")).program(["--", "false"]);
            let (theirs, safe) = (setup.path("theirs"), setup.path("safe"));
            Bait::HardLink.lay(&theirs.join("link"), &safe);
            let [socket, link] = ["a.sock", "link"].map(|name| theirs.join(name));
            let mut swapped = false;
            let nuisance = Nuisance::new(move || {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                swapped =
                    swapped || renameat2(AT_FDCWD, &link, AT_FDCWD, &socket, exchange).is_ok();
            });
            let ended = setup.run();
            drop(nuisance);
            is_safe(&safe, "", &format!("{ended}"));
        }
    }

    #[test]
    fn notification_sockets_are_where_nobody_else_can_put_anything() {
        if !have_strangers() {
            return;
        }
        let s = like_tmp(&["--interval=0"], "").sh(SLEEPS).start();
        let socket = Voice::of(s.wait_up(1)).path;
        let place = socket.parent().unwrap();
        assert_eq!(place.parent().unwrap(), s.path(""), "where TMPDIR says");
        let tried = as_stranger(|| {
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

        // On the way to it somebody could rename.
        for name in ["theirs/inner", "safe/link"] {
            let setup = with_theirs(like_tmp(&["--interval=0"], "")).sh(SLEEPS);
            let tmp = fs::canonicalize(setup.path("..")).unwrap();
            let (inner, theirs) = (setup.path("theirs/inner"), setup.path("theirs"));
            fs::create_dir(&inner).unwrap();
            symlink(&inner, setup.path("safe/link")).unwrap();
            let chosen = setup.path(name);
            let s = setup.env("TMPDIR", &chosen).start();
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
