//! `--check-cmd`: a reload whose check fails starts no worker.

mod extensions {
    use server_starter_testing::eventually;
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::{CONTROL, start, supervisor};

    const RESTART: [&str; 2] = ["--restart", CONTROL];

    #[test]
    fn failed_check_fails_the_reload_and_uses_no_generation() {
        let check = "--check-cmd=echo checked >>checks; test ! -e bad || exit 3";
        let s = start(&[CONTROL, check], SLEEPS);
        s.wait_generation(1);
        assert!(!s.path("checks").exists(), "the first start is not checked");
        s.write("bad", "");
        let why = "the reload failed: the check failed (exit code 3); generation 1 serves on";
        s.command(&RESTART).expect(1, &[why]);
        s.wait_line("the check failed, no worker is started, generation 1 keeps serving");
        std::fs::remove_file(s.path("bad")).unwrap();
        s.command(&RESTART).expect(0, &["generation 2 is alone"]);
        s.wait_generation(2);
        assert_eq!(s.read("checks"), "checked\nchecked\n");
        s.stop();
    }

    #[test]
    fn check_has_the_directory_and_the_environment_of_a_worker() {
        let check = "#!/bin/sh\n\
            echo $SERVER_STARTER_GENERATION $FROM_DIR $LISTEN_FDS $((LISTEN_PID == PPID)) \
            ${SERVER_STARTER_PORT##*=} ${NOTIFY_SOCKET:-none} $(pwd) >$DIR/seen\n";
        let options = [
            CONTROL,
            "--check-cmd=DIR/check; true",
            "--dir=DIR/home",
            "--envdir=DIR/env",
            "--port=127.0.0.1:PORT",
        ];
        let builder = supervisor(&options)
            .file("home/x", "")
            .file("env/FROM_DIR", "yes\n");
        let s = builder.executable("check", check).sh(SLEEPS).start();
        s.command(&RESTART).expect(0, &[]);
        let home = s.path("home");
        let expected = format!("2 yes 1 1 3 none {}\n", home.display());
        assert_eq!(s.read("seen"), expected);
        s.stop();
    }

    #[test]
    fn hanging_check_is_killed_with_its_children() {
        let check = "--check-cmd=sleep 1000 & echo $! >child; wait";
        let s = start(&[CONTROL, check, "--check-timeout=0.2"], SLEEPS);
        s.wait_generation(1);
        let why = "the reload failed: the check did not end in 0.2 s";
        s.command(&RESTART).expect(1, &[why]);
        eventually("the child of the check is dead", || {
            let pid = s.read("child").trim().to_owned();
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
        s.stop();
    }

    #[test]
    fn stop_does_not_wait_for_a_check() {
        let s = start(&[CONTROL, "--check-cmd=echo >began; sleep 1000"], SLEEPS);
        s.hup();
        eventually("the check runs", || s.path("began").exists());
        s.stop();
    }
}
