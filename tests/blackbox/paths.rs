//! `--path`: unix sockets, and files that already exist under their names.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

use server_starter_testing::exports;
use server_starter_testing::workers::SLEEPS;

use crate::fixtures::{start, supervisor};

#[test]
fn path_is_a_stream_socket_exported_under_its_name() {
    let s = start(&["--path=DIR/a.sock"], SLEEPS);
    let path = s.path("a.sock").display().to_string();
    let found: Vec<_> = exports(s.wait_generation(1))
        .into_iter()
        .map(|(key, _, socket)| (key, socket))
        .collect();
    assert_eq!(found, [(path.clone(), format!("unix {path}"))]);
    UnixStream::connect(path).unwrap();
    s.stop();
}

#[test]
fn relative_path_is_exported_as_typed() {
    let s = start(&["--path=a.sock"], SLEEPS);
    let found = exports(s.wait_generation(1));
    assert_eq!(
        (found[0].0.as_str(), found[0].2.as_str()),
        ("a.sock", "unix a.sock")
    );
    UnixStream::connect(s.path("a.sock")).unwrap();
    s.stop();
}

#[test]
fn socket_is_open_to_all_whatever_the_umask() {
    let s = supervisor(&["--path=DIR/a.sock"])
        .before("umask 077")
        .sh(SLEEPS)
        .start();
    let mode = s.path("a.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o777);
    s.stop();
}

#[test]
fn socket_is_removed_at_exit() {
    let s = start(&["--path=DIR/a.sock", "--path=DIR/b.sock"], SLEEPS);
    assert!(s.path("a.sock").metadata().unwrap().file_type().is_socket());
    s.stop();
    assert!(!s.path("a.sock").exists() && !s.path("b.sock").exists());
}

#[test]
fn stale_socket_is_replaced() {
    let builder = supervisor(&["--path=DIR/a.sock"]).sh(SLEEPS);
    drop(UnixListener::bind(builder.path("a.sock")).unwrap());
    let s = builder.start();
    s.wait_line(&format!(
        "removing existing socket file:{}",
        s.path("a.sock").display()
    ));
    UnixStream::connect(s.path("a.sock")).unwrap();
    s.stop();
}

#[test]
fn path_that_cannot_be_bound_is_named() {
    let options = ["--path=DIR/missing/a.sock"];
    supervisor(&options)
        .program(["--", "true"])
        .run()
        .expect_failure(&["missing/a.sock"]);
}

mod extensions {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::{start, supervisor};

    #[test]
    fn non_socket_path_is_not_replaced() {
        let refused = supervisor(&["--path=DIR/a.sock"])
            .file("a.sock", "precious")
            .program(["--", "true"])
            .run();
        refused.expect(1, &["a.sock"]);
        assert_eq!(
            fs::read_to_string(refused.path("a.sock")).unwrap(),
            "precious"
        );

        let directory = supervisor(&["--path=DIR/d"])
            .file("d/file", "precious")
            .program(["--", "true"])
            .run();
        directory.expect(1, &["/d"]);
        assert!(directory.path("d/file").exists());
    }

    #[test]
    fn symbolic_link_is_not_replaced() {
        let builder = supervisor(&["--path=DIR/a.sock"])
            .file("target", "precious")
            .program(["--", "true"]);
        std::os::unix::fs::symlink("target", builder.path("a.sock")).unwrap();
        let refused = builder.run();
        refused.expect(1, &["a.sock"]);
        assert_eq!(
            fs::read_link(refused.path("a.sock")).unwrap().to_str(),
            Some("target")
        );
        assert_eq!(
            fs::read_to_string(refused.path("target")).unwrap(),
            "precious"
        );
    }

    #[test]
    fn listening_socket_is_not_replaced() {
        let builder = supervisor(&["--path=DIR/a.sock"]).program(["--", "true"]);
        let listener = UnixListener::bind(builder.path("a.sock")).unwrap();
        let refused = builder.run();
        refused.expect(1, &["a.sock"]);
        UnixStream::connect(refused.path("a.sock")).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn socket_with_a_full_backlog_is_not_replaced() {
        let s = start(&["--backlog=1", "--path=DIR/a.sock"], SLEEPS);
        let waiting: Vec<UnixStream> = (0..2)
            .map(|_| UnixStream::connect(s.path("a.sock")).unwrap())
            .collect();
        let second = s.command(&["--path=DIR/a.sock", "--", "true"]);
        second.expect(1, &["a.sock"]);
        assert_eq!(waiting.len(), 2);
        assert!(s.path("a.sock").exists());
        s.stop();
    }

    #[test]
    fn datagram_socket_in_use_is_not_replaced() {
        let builder = supervisor(&["--path=DIR/a.sock"]).program(["--", "true"]);
        let theirs = UnixDatagram::bind(builder.path("a.sock")).unwrap();
        let refused = builder.run();
        refused.expect(1, &["a.sock"]);
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"there?", refused.path("a.sock"))
            .unwrap();
        drop(theirs);
    }

    #[test]
    fn replaced_socket_is_not_removed_at_exit() {
        let s = start(
            &[
                "--path=DIR/a.sock",
                "--path=DIR/b.sock",
                "--path=DIR/c.sock",
            ],
            SLEEPS,
        );
        // Renamed into place: a path without a file is made again at once.
        s.write("precious", "precious");
        fs::rename(s.path("precious"), s.path("a.sock")).unwrap();
        let theirs = UnixListener::bind(s.path("theirs")).unwrap();
        fs::rename(s.path("theirs"), s.path("b.sock")).unwrap();
        s.stop();
        assert_eq!(s.read("a.sock"), "precious");
        assert!(
            s.path("b.sock").metadata().unwrap().file_type().is_socket(),
            "the socket of another program was removed"
        );
        assert!(
            !s.path("c.sock").exists(),
            "the supervisor's own socket is left"
        );
        drop(theirs);
    }

    #[test]
    fn removed_socket_is_made_again_and_a_new_generation_gets_it() {
        let s = start(&["--path=DIR/a.sock"], SLEEPS);
        let inode = || s.path("a.sock").metadata().map(|found| found.ino()).ok();
        let before = inode();
        fs::remove_file(s.path("a.sock")).unwrap();
        s.wait_generation(2);
        assert!(inode().is_some() && inode() != before);
        UnixStream::connect(s.path("a.sock")).unwrap();
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn refused_start_removes_its_sockets() {
        let options = ["--path=DIR/a.sock", "--path=DIR/b.sock"];
        let refused = supervisor(&options)
            .file("b.sock", "precious")
            .program(["--", "true"])
            .run();
        refused.expect(1, &["b.sock"]);
        assert!(!refused.path("a.sock").exists());
    }

    #[test]
    fn removed_socket_is_no_error_at_exit() {
        let s = start(&["--path=DIR/a.sock"], SLEEPS);
        fs::remove_file(s.path("a.sock")).unwrap();
        s.stop();
    }

    #[test]
    fn path_mode_sets_the_mode() {
        let s = start(&["--path=DIR/a.sock", "--path-mode=0640"], SLEEPS);
        let mode = s.path("a.sock").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        s.stop();
    }

    #[test]
    fn invalid_mode_is_refused() {
        for mode in ["", "rw", "8", "-1", "17777777"] {
            let options = ["--path=DIR/a.sock", &format!("--path-mode={mode}")];
            supervisor(&options)
                .program(["--", "true"])
                .run()
                .expect(2, &["--path-mode"]);
        }
    }

    #[test]
    fn path_user_and_path_group_set_the_owner() {
        // only root may change an owner; each user may set the present one
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let wanted = if user.is_root() {
            (60_001, 60_002)
        } else {
            (user.as_raw(), group.as_raw())
        };
        let options = [
            "--path=DIR/a.sock",
            &format!("--path-user={}", wanted.0),
            &format!("--path-group={}", wanted.1),
        ];
        let s = start(&options, SLEEPS);
        let file = s.path("a.sock").metadata().unwrap();
        assert_eq!((file.uid(), file.gid()), wanted);
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn unknown_owner_is_named() {
        for option in ["--path-user=no-such-name", "--path-group=no-such-name"] {
            let refused = supervisor(&["--path=DIR/a.sock", option])
                .program(["--", "true"])
                .run();
            refused.expect_failure(&["no-such-name"]);
            assert!(!refused.path("a.sock").exists());
        }
    }

    #[test]
    fn path_that_cannot_be_bound_is_exit_status_1() {
        let options = ["--path=DIR/missing/a.sock"];
        let refused = supervisor(&options).program(["--", "true"]).run();
        refused.expect(1, &["missing/a.sock", "No such file or directory"]);
    }
}
