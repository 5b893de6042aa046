//! A malicious worker: statements of SECURITY.md that no other test covers.

mod extensions {
    use std::fs;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{OTHER_USER, other_user_is_available};

    use crate::fixtures::supervisor;

    #[test]
    fn worker_of_another_user_cannot_harm_the_supervisor_or_its_files() {
        if !other_user_is_available() {
            return;
        }
        let tries = r#"
            try() { if "$@" >/dev/null 2>&1; then echo "$*" >>could; fi; }
            try true
            try kill -0 $PPID
            try kill -TERM $PPID
            try kill -KILL $PPID
            try ls /proc/$PPID/fd
            try cat /proc/$PPID/environ
            try cat /proc/$PPID/mem
            try test -w /proc/$PPID/oom_score_adj
            for file in pid status log a.sock control; do
                try mv $file theirs
                try ln -f pid $file
                try rm $file
            done
            try test -w pid
            try test -w status
            try test -w log
            try test -w control
            try mv "$NOTIFY_SOCKET" "$NOTIFY_SOCKET.away"
            try mkdir "${NOTIFY_SOCKET%/*}/2"
            try mv "${NOTIFY_SOCKET%/*}" away
            try ./start_server --stop --pid-file=pid
            try ./start_server --stop --control=control
            try ./start_server --restart --control=control
            try ./start_server --status --control=control
            up
            exec sleep 1000"#;
        let user = format!("--user={OTHER_USER}");
        let group = format!("--group={OTHER_USER}");
        let options = [
            "--pid-file=DIR/pid",
            "--log-file=DIR/log",
            "--path=DIR/a.sock",
            "--control=DIR/control",
            &user,
            &group,
        ];
        // The first worker starts before the status file exists, the second one after that.
        let builder = supervisor(&options).copied().sh(tries).log("log");
        fs::set_permissions(builder.path("."), fs::Permissions::from_mode(0o1777)).unwrap();
        let s = builder.start();
        s.hup();
        s.wait_up(2);
        assert_eq!(s.read("could"), "true\n".repeat(2));
        s.stop();
    }

    #[test]
    fn listening_socket_shut_down_by_a_worker_listens_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = TcpStream::from(OwnedFd::from(listener.try_clone().unwrap()));
        let s = supervisor(&["--pid-file=DIR/pid"])
            .stdin(fs::File::from(OwnedFd::from(listener)))
            .sh(SLEEPS)
            .start();
        assert!(TcpStream::connect(address).is_ok());
        // The worker's descriptor is the same open socket: each holder can shut it down.
        for generation in 2..4 {
            shared.shutdown(Shutdown::Both).unwrap();
            s.eventually("the socket listens again", || {
                TcpStream::connect(address).is_ok()
            });
            s.hup();
            s.wait_generation(generation);
        }
        s.stop();
    }

    #[test]
    fn tests_named_in_security_md_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
        // every second part is between backquotes
        let names = text.split('`').skip(1).step_by(2);
        let tests = names.filter_map(|name| name.split_once("::"));
        let tests: Vec<_> = tests.filter(|(_, test)| *test != "…").collect();
        assert!(tests.len() > 20, "{tests:?}");
        for (file, test) in tests {
            let file = root.join(format!("tests/blackbox/{file}.rs"));
            let tests = fs::read_to_string(&file).unwrap_or_default();
            let found = tests.contains(&format!("fn {test}()"));
            assert!(found, "{test} is not in {}", file.display());
        }
    }
}
