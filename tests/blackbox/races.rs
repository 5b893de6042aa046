//! Another user at the places of our files: they have been there first, or they come in between. What is not ours is
//! neither written to nor removed, and nobody is waited for.

mod better {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};

    use crate::harness::{
        Bait, Nuisance, Process, SLEEPS, STRANGER, Setup, Voice, as_stranger, have_strangers,
        what_is,
    };

    /// A third user.
    const OTHER: u32 = 4243;

    /// In a directory like /tmp, with one of ours in it: `safe/`, and a file there, `safe/victim`.
    fn like_tmp(options: &[&str], victim: &str) -> Setup {
        let setup = Setup::bare(options);
        fs::set_permissions(setup.path("."), fs::Permissions::from_mode(0o1777)).unwrap();
        let setup = setup.file("safe/victim", victim);
        fs::set_permissions(setup.path("safe"), fs::Permissions::from_mode(0o700)).unwrap();
        setup
    }

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

    /// The supervisor becomes another user, by way of a shell that makes itself at home first.
    fn as_user(setup: Setup, user: u32) -> Setup {
        setup.copied().before(&format!(
            "set -- setpriv --reuid={user} --regid={user} --clear-groups \"$@\""
        ))
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

    /// A process of ours that has nothing to do with it.
    struct Bystander(Child);

    impl Drop for Bystander {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_stranger_cannot_have_somebody_stopped() {
        if !have_strangers() {
            return;
        }
        let setup = like_tmp(&["--stop", "--pid-file=DIR/pid"], "");
        let path = setup.path("pid");
        let mut file = as_stranger(|| fs::File::create(&path).unwrap());
        let sleep = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::from(fs::File::open(&path).unwrap()))
            .spawn();
        let bystander = Bystander(sleep.unwrap());
        writeln!(file, "{}", bystander.0.id()).unwrap();
        let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        setup.run().expect(3, &["not by process "]);
        let sleep = Process(i32::try_from(bystander.0.id()).unwrap());
        assert!(sleep.is_alive());
    }

    #[test]
    fn a_restart_believes_no_status_of_a_strangers_and_waits_for_none() {
        if !have_strangers() {
            return;
        }
        let options = [
            "--interval=0",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
        ];
        let s = like_tmp(&options, "").sh(SLEEPS).start();
        s.wait_generation(1);
        let restart = |name: &str| {
            let status = format!("--status-file=DIR/{name}");
            s.command(&["--restart", "--pid-file=DIR/pid", &status])
        };
        for (bait, why) in [
            (Bait::File, "it belongs to user 4242"),
            (Bait::Fifo, "it belongs to user 4242"),
            (Bait::Symlink, "it is a symbolic link"),
        ] {
            let name = format!("{bait:?}");
            let _open = bait.lay(&s.path(&name), &s.path("safe"));
            restart(&name).expect(1, &["cannot use status file ", why]);
        }
        assert_eq!(s.ups().len(), 1, "nothing was restarted");
        restart("status").expect(0, &[]);
        s.stop();
    }

    #[test]
    fn root_may_ask_for_a_restart_of_anybodys() {
        if !have_strangers() {
            return;
        }
        let options = [
            "--interval=0",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--control=DIR/control",
        ];
        let s = as_user(like_tmp(&options, ""), OTHER)
            .program(["--", "sleep", "1000"])
            .start();
        s.eventually("it is up", || s.status().len() == 1);
        assert_eq!(s.path("pid").metadata().unwrap().uid(), OTHER);
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
    fn what_listens_in_the_supervisors_place_is_not_believed() {
        if !have_strangers() {
            return;
        }
        let options = ["--interval=0", "--control=DIR/control"];
        let sleep = ["--", "sleep", "1000"];
        let theirs = as_user(like_tmp(&options, ""), STRANGER).program(sleep);
        let theirs = theirs.spawn();
        theirs.eventually("it listens", || theirs.path("control").exists());
        let all = || fs::Permissions::from_mode(0o777);
        fs::set_permissions(theirs.path("control"), all()).unwrap();
        let socket = format!("--control={}", theirs.path("control").display());
        let refused = as_user(like_tmp(&["--status", &socket], ""), OTHER).run();
        let words = "is no supervisor of ours: it is user 4242's";
        refused.expect(1, &["what listens at ", words]);
        theirs.stop();
    }

    #[test]
    fn a_control_socket_answers_nobody_else_even_if_they_can_connect() {
        if !have_strangers() {
            return;
        }
        let s = like_tmp(&["--interval=0", "--control=DIR/control"], "").sh(SLEEPS);
        let s = s.start();
        let mode = s.path("control").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(s.path("control"), all).unwrap();
        let socket = format!("--control={}", s.path("control").display());
        for command in ["--restart", "--status"] {
            let refused = as_user(like_tmp(&[command, &socket], ""), STRANGER).run();
            // All it sees is the end of the connection.
            refused.expect_failure(&[]);
            s.wait_line("turned away a client of another user, 4242");
        }
        assert_eq!(s.ups().len(), 1);
        s.stop();
    }

    #[test]
    fn nobody_is_waited_for_who_does_not_answer() {
        if !have_strangers() {
            return;
        }
        // There is no room in its queue.
        let options = ["--status", "--control=DIR/control", "--timeout=0.2"];
        let setup = like_tmp(&options, "");
        let listener = UnixListener::bind(setup.path("control")).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let _waits = std::os::unix::net::UnixStream::connect(setup.path("control")).unwrap();
        setup.run().expect(4, &["nobody has answered at "]);
    }

    #[test]
    fn who_never_ends_is_not_listened_to_for_ever() {
        if !have_strangers() {
            return;
        }
        let setup = like_tmp(&["--status", "--control=DIR/control"], "");
        let listener = UnixListener::bind(setup.path("control")).unwrap();
        let talker = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while client.write_all(&[b' '; 1 << 16]).is_ok() {}
        });
        setup.run().expect(1, &["what answers at ", " never ends"]);
        talker.join().unwrap();
    }
}
