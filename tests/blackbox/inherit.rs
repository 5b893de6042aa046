//! Inherited sockets: `LISTEN_FDS`, as systemd sets it, and a listening standard input.
//!
//! An outer supervisor binds the sockets. Its worker sets the variables as systemd does and becomes, by exec, the
//! supervisor under test.

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS, SLEEPS};
    use server_starter_testing::{Supervisor, exports};

    use crate::fixtures::{hello, supervisor};

    /// Stops without `settle`, which would wait for ever for a worker that runs the supervisor's program.
    fn stop(s: &Supervisor) {
        s.process().signal(Signal::SIGTERM);
        s.expect_exit(0);
    }

    /// Passes two sockets, the first at the address in the inner supervisor's `--port`, if it has one.
    const OUTER: &str = r#"
        if [ -z "$INNER" ]; then
            export INNER=1
            first=127.0.0.1:0
            for option; do case $option in --port=127*) first=${option#--port=} ;; esac; done
            exec "$1" --interval=0 --port=127.0.0.1:0 --port="$first" -- /bin/sh -c '
                export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=admin:web
                exec "$@"' sh "$@"
        fi"#;

    #[test]
    fn inherited_socket_at_the_address_is_used_and_the_others_are_passed_on() {
        let s = supervisor(&["--port=127.0.0.1:PORT"])
            .before(OUTER)
            .sh(SLEEPS)
            .start();
        let worker = s.wait_generation(1);
        let exports = exports(worker);
        assert_eq!(exports.len(), 2);
        assert_eq!(
            (&*exports[0].0, exports[0].1),
            (&*format!("127.0.0.1:{}", s.port(0)), 3)
        );
        assert!(exports[1].0.starts_with("127.0.0.1:"), "{exports:?}");
        assert_eq!(exports[1].1, 4);
        // with the same names as the supervisor got them
        assert_eq!(worker.variable("LISTEN_PID"), Some(worker.to_string()));
        assert_eq!(worker.variable("LISTEN_FDS").as_deref(), Some("2"));
        let names = worker.variable("LISTEN_FDNAMES");
        assert_eq!(names.as_deref(), Some("web:admin"));
        stop(&s);
    }

    #[test]
    fn inherited_socket_is_served() {
        let s = supervisor(&["--port=127.0.0.1:PORT"])
            .before(OUTER)
            .program(["--".into(), hello().into_os_string()])
            .start();
        assert_eq!(s.client().hello().0, 1);
        stop(&s);
    }

    #[test]
    fn inherited_socket_is_chosen_by_name() {
        let s = supervisor(&["--port=fd:web=7"])
            .before(OUTER)
            .sh(SLEEPS)
            .start();
        let exports = exports(s.wait_generation(1));
        let numbers: Vec<i32> = exports.iter().map(|export| export.1).collect();
        assert_eq!(
            numbers,
            [7, 3],
            "the socket of the option comes first, on its chosen number"
        );
        stop(&s);
    }

    #[test]
    fn unknown_name_is_an_error_that_lists_the_known_names() {
        let s = supervisor(&["--port=fd:nope"])
            .before(OUTER)
            .sh(SLEEPS)
            .spawn();
        s.wait_line_starting("start_server: --port=fd:nope: no inherited socket has that name");
        let line = s
            .lines()
            .into_iter()
            .find(|line| line.contains("fd:nope"))
            .unwrap();
        assert!(line.contains("admin") && line.contains("web"), "{line}");
        stop(&s);
    }

    /// A start with these variables in the environment fails with these words.
    #[track_caller]
    fn refused(variables: &str, words: &[&str]) {
        let refused = supervisor(&[])
            .before(&format!("export LISTEN_PID=$$ {variables}"))
            .sh(FAILS)
            .run();
        refused.expect(1, words);
        assert!(!refused.stderr.contains("starting new worker"), "{refused}");
    }

    #[test]
    fn invalid_variables_are_refused() {
        for count in ["some", "-1", "''", "99999999999999999999", "1000000", "3.0"] {
            refused(&format!("LISTEN_FDS={count}"), &["LISTEN_FDS="]);
        }
    }

    #[test]
    fn closed_descriptor_is_named_in_the_error() {
        let closed = "LISTEN_FDS=20000";
        refused(closed, &["LISTEN_FDS=20000", "is not open"]);
    }

    #[test]
    fn variables_for_another_process_are_ignored_and_not_passed_on() {
        let s = supervisor(&[])
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "a:b")
            .sh(SLEEPS)
            .start();
        let worker = s.wait_generation(1);
        assert_eq!(worker.variable("SERVER_STARTER_PORT").as_deref(), Some(""));
        assert_eq!(worker.variable("LISTEN_FDS"), None);
        s.stop();
    }

    #[test]
    fn listening_standard_input_is_used() {
        let outer = r#"
            if [ -z "$INNER" ]; then
                export INNER=1
                exec "$1" --interval=0 --port=127.0.0.1:0=0 -- "$@"
            fi"#;
        let s = supervisor(&[]).before(outer).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let exports = exports(worker);
        assert_eq!(exports.len(), 1);
        assert_eq!(
            exports[0].1, 3,
            "the socket is moved to the first number of sockets"
        );
        assert_eq!(worker.descriptors()[&0], "/dev/null");
        stop(&s);
    }
}
