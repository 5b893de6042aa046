//! The command line: where the options end, how they are spelled, `--help` and `--version`. For refused values see
//! `bad_input`.

use server_starter_testing::workers::SLEEPS;

use crate::fixtures::{bare_supervisor, start, supervisor};

const WRITES_ARGUMENTS: &str =
    r#"for a; do echo "<$a>"; done >"$DIR/arguments"; up; exec sleep 1000"#;

#[test]
fn double_dash_ends_the_options() {
    let arguments = ["--port=8080", "-x", "--", "--help", ""];
    let s = supervisor(&[])
        .sh(WRITES_ARGUMENTS)
        .program(arguments)
        .start();
    assert_eq!(
        s.read("arguments"),
        "<--port=8080>\n<-x>\n<-->\n<--help>\n<>\n"
    );
    s.stop();
}

#[test]
fn option_values_follow_an_equals_sign_or_a_space() {
    let s = bare_supervisor(&[
        "--interval",
        "0",
        "--status-file",
        "DIR/status",
        "--signal-on-term=KILL",
    ])
    .sh(SLEEPS)
    .start();
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending KILL to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:9"));
    s.expect_exit(0);
}

#[test]
fn options_may_be_abbreviated() {
    let s = bare_supervisor(&["--int", "0", "--stat=DIR/status", "--signal-on-h=KILL"])
        .sh(SLEEPS)
        .start();
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line(&format!(
        "new worker is now running, sending KILL to old workers:{first}"
    ));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn last_of_a_repeated_option_wins() {
    let s = start(&["--signal-on-term=KILL", "--signal-on-term=INT"], SLEEPS);
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending INT to all workers:{worker}"
    ));
    s.expect_exit(0);
}

#[test]
fn program_is_run_without_a_shell() {
    let s = supervisor(&[]).program(["--", "sleep", "1000"]).start();
    let worker = s.wait_generation(1);
    s.settle();
    assert_eq!(worker.read("cmdline"), "sleep\x001000\0");
    assert_eq!(worker, s.wait_new_worker());
    s.stop();
}

#[test]
fn log_begins_with_starting_and_ends_with_exiting() {
    let s = start(&[], SLEEPS);
    s.wait_line(&format!(
        "start_server (pid:{}) starting now...",
        s.process()
    ));
    let worker = s.wait_new_worker();
    assert_eq!(worker, s.wait_generation(1));
    s.stop();
    s.wait_line("exiting");
    assert!(
        s.lines()[0].starts_with("start_server (pid:"),
        "the log does not begin with this line"
    );
    assert_eq!(s.lines().last().unwrap(), "exiting");
}

#[test]
fn help_goes_to_standard_output() {
    let help = bare_supervisor(&["--help"]).run();
    help.expect(0, &[]);
    assert_eq!(help.stderr, "");
    for option in [
        "--port",
        "--path",
        "--interval",
        "--pid-file",
        "--status-file",
        "--envdir",
        "--daemonize",
    ] {
        assert!(help.stdout.contains(option), "{option} is not in\n{help}");
    }
}

#[test]
fn version_goes_to_standard_output() {
    let version = bare_supervisor(&["--version"]).run();
    version.expect(0, &[]);
    assert_eq!(version.stderr, "");
    let number = version.stdout.trim_end().rsplit(' ').next().unwrap();
    assert!(
        number.split('.').all(|part| part.parse::<u32>().is_ok()),
        "no version number in\n{version}"
    );
}

#[test]
fn unknown_option_is_refused() {
    bare_supervisor(&["--no-such-option"])
        .program(["--", "true"])
        .run()
        .expect_failure(&["no-such-option"]);
}

#[test]
fn missing_program_is_a_usage_error() {
    bare_supervisor(&[])
        .run()
        .expect_failure(&["server program not specified"]);
    bare_supervisor(&["--interval=1", "--"])
        .run()
        .expect_failure(&["server program not specified"]);
}

mod extensions {
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::{bare_supervisor, supervisor};

    #[test]
    fn program_name_ends_the_options() {
        let script = "for a; do echo \"<$a>\"; done >\"$DIR/arguments\"; exec sleep 1000";
        let arguments = [
            "/bin/sh",
            "-c",
            script,
            "worker",
            "--interval=7",
            "-x",
            "--",
            "--version",
        ];
        let s = supervisor(&[]).program(arguments).start();
        s.eventually("the worker has written its arguments", || {
            s.read("arguments").ends_with("<--version>\n")
        });
        assert_eq!(
            s.read("arguments"),
            "<--interval=7>\n<-x>\n<-->\n<--version>\n"
        );
        s.stop();
    }

    #[test]
    fn usage_errors_exit_2() {
        bare_supervisor(&["--no-such-option"])
            .program(["--", "true"])
            .run()
            .expect(2, &["--no-such-option"]);
        bare_supervisor(&[])
            .run()
            .expect(2, &["server program not specified"]);
        bare_supervisor(&["--interval"])
            .run()
            .expect(2, &["--interval"]);
    }

    #[test]
    fn ambiguous_abbreviation_is_refused() {
        bare_supervisor(&["--signal-on=TERM"])
            .program(["--", "true"])
            .run()
            .expect(2, &["--signal-on"]);
    }

    #[test]
    fn version_names_the_program() {
        let version = bare_supervisor(&["--version"]).run();
        let number = version
            .stdout
            .strip_prefix("start_server ")
            .unwrap_or_else(|| panic!("{version}"));
        let parts: Vec<&str> = number.trim_end().split('.').collect();
        assert_eq!(parts.len(), 3, "{version}");
    }

    #[test]
    fn help_lists_every_option() {
        let help = bare_supervisor(&["--help"]).run();
        for option in [
            "--port",
            "--path",
            "--backlog",
            "--dir",
            "--interval",
            "--signal-on-hup",
            "--signal-on-term",
            "--pid-file",
            "--status-file",
            "--envdir",
            "--enable-auto-restart",
            "--auto-restart-interval",
            "--kill-old-delay",
            "--log-file",
            "--daemonize",
            "--restart",
            "--stop",
            "--help",
            "--version",
            "--start-attempts",
            "--stop-timeout",
            "--until",
            "--timeout",
            "--log-level",
        ] {
            assert!(help.stdout.contains(option), "{option} is not in\n{help}");
        }
    }

    #[test]
    fn times_may_be_fractions_or_have_a_unit() {
        for (value, told) in [
            ("300ms", "0.3"),
            ("0.5", "0.5"),
            ("2s", "2"),
            ("5m", "300"),
            ("1h", "3600"),
            ("7", "7"),
        ] {
            let s = supervisor(&[&format!("--kill-old-delay={value}")])
                .sh(SLEEPS)
                .start();
            s.hup();
            s.wait_line(&format!("sleeping {told} secs before killing old workers"));
            s.stop();
        }
    }

    #[test]
    fn default_log_has_the_plain_lines_only() {
        let s = supervisor(&[]).sh(SLEEPS).start();
        let first = s.wait_generation(1);
        s.hup();
        let second = s.wait_generation(2);
        s.wait_line(&format!("old worker {first} died, status:15"));
        s.stop();
        let expected = [
            format!("start_server (pid:{}) starting now...", s.process()),
            format!("starting new worker {first}"),
            "received HUP, spawning a new worker".to_owned(),
            format!("starting new worker {second}"),
            format!("new worker is now running, sending TERM to old workers:{first}"),
            "killing old workers".to_owned(),
            format!("old worker {first} died, status:15"),
            format!("received TERM, sending TERM to all workers:{second}"),
            format!("worker {second} died, status:15"),
            "exiting".to_owned(),
        ];
        let lines = s.lines();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(&expected) {
            let rest = line.strip_prefix(expected.as_str());
            assert!(
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
                "{line:?} for {expected:?}"
            );
        }
    }

    #[test]
    fn verbose_adds_fields_after_the_line() {
        for option in ["-v", "--log-level=debug"] {
            let s = supervisor(&[option]).sh(SLEEPS).start();
            let worker = s.wait_generation(1);
            s.wait_line(&format!("starting new worker {worker}"));
            let lines = s.lines();
            let line = lines
                .iter()
                .find(|line| line.starts_with("starting new worker"))
                .unwrap();
            assert!(
                line.contains(" generation=1") && line.contains(&format!(" worker_pid={worker}")),
                "no fields: {line}"
            );
            s.stop();
        }
    }

    #[test]
    fn log_level_error_leaves_the_lines_out() {
        let s = supervisor(&["--log-level=error"]).sh(SLEEPS).start();
        s.stop();
        assert_eq!(s.lines(), Vec::<String>::new());
    }
}
