//! Values that are refused at the start: with a message that names them, and before any socket or file is created.

use crate::fixtures::{bare_supervisor, supervisor};

#[test]
fn invalid_port_is_refused_and_named() {
    for spec in ["http", "127.0.0.1:", "80=x", "-1"] {
        let refused = supervisor(&[&format!("--port={spec}")])
            .program(["--", "true"])
            .run();
        refused.expect_failure(&[spec]);
        assert!(!refused.stderr.contains("starting new worker"), "{refused}");
    }
}

#[test]
fn invalid_interval_is_refused() {
    bare_supervisor(&["--interval=soon"])
        .program(["--", "true"])
        .run()
        .expect_failure(&["interval"]);
}

mod extensions {
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::supervisor;

    /// The start exits with status 2, each of `words` is on standard error, and no worker was started.
    #[track_caller]
    fn refused(options: &[&str], words: &[&str]) {
        let refused = supervisor(options)
            .file("file", "")
            .program(["--", "true"])
            .run();
        refused.expect(2, words);
        assert_eq!(refused.stdout, "", "{refused}");
        assert!(!refused.stderr.contains("starting new worker"), "{refused}");
        assert!(
            !refused.path("status").exists() && !refused.path("pid").exists(),
            "{refused}"
        );
    }

    #[test]
    fn invalid_port_specs_are_refused() {
        let mut taken = Vec::new();
        for spec in [
            "",
            " ",
            "65536",
            "70000",
            "99999999999999999999",
            "-1",
            "+80",
            "0x50",
            "80.5",
            "80x",
            "http",
            "u",
            ":",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:-1",
            "127.0.0.1:http",
            "127.0.0.1",
            "[::1",
            "[::1]",
            "[::1]80",
            "::1]:80",
            "[:80",
            "[]:80",
            "[::1]:",
            "[::g]:80",
            "80=",
            "80=x",
            "80=-1",
            "80=3=4",
            "80=99999999999999999999",
            "127.0.0.1:80=x",
        ] {
            let option = format!("--port={spec}");
            let finished = supervisor(&[&option]).program(["--", "true"]).run();
            let named = if spec.trim().is_empty() {
                "--port"
            } else {
                spec
            };
            if finished.code() != Some(2) || !finished.stderr.contains(named) {
                taken.push(finished.to_string());
            }
        }
        assert!(
            taken.is_empty(),
            "{} were not refused as expected:\n{}",
            taken.len(),
            taken.join("\n")
        );
    }

    #[test]
    fn socket_on_standard_output_or_error_is_refused() {
        for spec in ["127.0.0.1:PORT=1", "127.0.0.1:PORT=2", "PORT=2"] {
            refused(&["--port", spec], &["=", spec.rsplit('=').next().unwrap()]);
        }
    }

    #[test]
    fn two_sockets_on_one_descriptor_are_refused() {
        refused(
            &["--port=127.0.0.1:PORT=5", "--port=127.0.0.1:PORT2=5"],
            &["5", "127.0.0.1:"],
        );
        refused(
            &["--port=127.0.0.1:PORT=0", "--port=127.0.0.1:uPORT2=0"],
            &["0", "127.0.0.1:"],
        );
    }

    #[test]
    fn repeated_socket_spec_is_refused() {
        refused(&["--port=8181", "--port=8181"], &["8181"]);
        refused(
            &["--port=127.0.0.1:8181", "--port= 127.0.0.1:8181 "],
            &["127.0.0.1:8181"],
        );
        refused(
            &["--port=127.0.0.1:8181", "--port=127.0.0.1:8181=7"],
            &["127.0.0.1:8181"],
        );
        refused(&["--port=u8181", "--port=u8181"], &["8181"]);
        refused(&["--path=DIR/a.sock", "--path=DIR/a.sock"], &["a.sock"]);
    }

    #[test]
    fn invalid_paths_are_refused() {
        refused(&["--path=DIR/a;b.sock"], &["a;b.sock"]);
        refused(&["--path=DIR/a=b.sock"], &["a=b.sock"]);
        refused(&["--path="], &["--path"]);
        let long = "x".repeat(108);
        refused(&["--path", &long], &[&long]);
    }

    #[test]
    fn path_of_the_greatest_length_is_bound() {
        let longest = "x".repeat(107);
        let s = supervisor(&["--path", &longest]).sh(SLEEPS).start();
        assert!(s.path(&longest).exists());
        s.stop();
        assert!(!s.path(&longest).exists());
    }

    #[test]
    fn unknown_signals_are_refused() {
        for option in ["--signal-on-hup", "--signal-on-term"] {
            for name in [
                "",
                "NOSUCH",
                "SIGNOSUCH",
                "SIG",
                "0",
                "-1",
                "65",
                "99999",
                "TERM KILL",
                "15x",
            ] {
                let named = if name.is_empty() { option } else { name };
                refused(&[&format!("{option}={name}")], &[named]);
            }
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        let options = [
            "--interval",
            "--kill-old-delay",
            "--auto-restart-interval",
            "--stop-timeout",
            "--timeout",
        ];
        for option in options {
            for value in [
                "", "-1", "-0.5", "soon", "1x", "nan", "inf", "1e400", "5 m s",
            ] {
                refused(&[&format!("{option}={value}")], &[option]);
            }
        }
    }

    #[test]
    fn invalid_numbers_are_refused() {
        for option in ["--backlog", "--start-attempts"] {
            for value in ["", "-1", "many", "1.5", "99999999999999999999"] {
                refused(&[&format!("{option}={value}")], &[option]);
            }
        }
    }

    #[test]
    fn invalid_environment_variables_are_refused() {
        for (name, value) in [
            ("KILL_OLD_DELAY", "soon"),
            ("KILL_OLD_DELAY", "-1"),
            ("AUTO_RESTART_INTERVAL", "often"),
        ] {
            let refused = supervisor(&["--enable-auto-restart"])
                .env(name, value)
                .program(["--", "true"])
                .run();
            refused.expect(2, &[name, value]);
        }
    }

    #[test]
    fn invalid_options_are_refused() {
        refused(&["--no-such-option"], &["--no-such-option"]);
        refused(&["-x"], &["-x"]);
        refused(&["--daemonize"], &["--log-file"]);
        refused(&["--log-level=loud"], &["loud"]);
        refused(&["--enable-auto-restart=maybe"], &["--enable-auto-restart"]);
    }
}
