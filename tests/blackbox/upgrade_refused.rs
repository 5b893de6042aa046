//! Upgrades that are refused, because of the release or because of a stop.

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::upgrade::{SAME_PROGRAM, script};
    use server_starter_testing::workers::{SLEEPS, STUBBORN};

    use crate::fixtures::{UPGRADE, hello, upgradable};

    #[test]
    fn unusable_release_is_refused_without_effect() {
        let s = upgradable(&["--port=127.0.0.1:PORT"]).program(["--".into(), hello()]);
        let s = s.start();
        let (pid, worker) = (s.process(), s.wait_generation(1));
        let usage = "error: unexpected argument ''\\''--preflight'\\'' found";
        let cases = [
            (
                script("echo oops; kill -SEGV $$"),
                "has failed the preflight (killed by SEGV): oops",
            ),
            (
                script("exit 0"),
                "has not said that it understands our state",
            ),
            (
                script(&format!("echo \"{usage}\" >&2; exit 2")),
                "(exit code 2): error: unexpected",
            ),
            // Not a program, and not run by a shell either.
            (
                "echo \"touch $PWD/ran\" >next".to_owned(),
                "Exec format error",
            ),
            (
                "echo '#!/nonexistent/interpreter' >next".to_owned(),
                "No such file or directory",
            ),
            (
                "rm -f start_server; mkdir -p next".to_owned(),
                "Permission denied",
            ),
        ];
        for (by, reason) in cases {
            s.replace_program(&by);
            s.command(&UPGRADE)
                .expect(1, &["upgrade refused, nothing has changed", reason]);
            assert_eq!(s.client().hello(), (1, worker), "{by}");
        }
        assert!(!s.path("ran").exists());
        let gone = std::fs::remove_dir(s.path("start_server"));
        gone.unwrap();
        s.command(&UPGRADE)
            .expect(1, &["cannot find ", "No such file or directory"]);

        // A file without the permission to execute.
        s.replace_program(SAME_PROGRAM);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(s.path("start_server"), mode).unwrap();
        s.command(&UPGRADE)
            .expect(1, &["failed to exec ", "Permission denied"]);

        s.replace_program(SAME_PROGRAM);
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!((s.process(), s.client().hello()), (pid, (1, worker)));
        s.stop();
    }

    /// A file that passes the preflight is replaced before the exec: the new file is checked, too.
    #[test]
    fn release_that_is_replaced_after_its_preflight_is_checked_again() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        s.replace_program(&script("exit 1"));
        let real = s.copy_program("real");
        let trap = format!(
            "cp start_server bad; cp real new; chmod 755 new; mv new start_server; \
             exec {} \"$@\"",
            real.display()
        );
        s.replace_program(&script(&trap));
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(s.upgrades(), 1);
        let preflights = s
            .lines()
            .iter()
            .filter(|l| l.starts_with("upgrade: trying "))
            .count();
        assert_eq!(preflights, 2);
        s.stop();
    }

    #[test]
    fn hanging_preflight_is_given_up() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        s.replace_program(&script("exec sleep 1000"));
        // A second request during the preflight gets the same answer.
        let first = s.spawn_command(&UPGRADE);
        s.wait_line_starting("upgrade: trying ");
        let second = s.spawn_command(&UPGRADE);
        let busy = ["was still busy after 10 s"];
        first.wait().expect(1, &busy);
        second.wait().expect(1, &busy);
        s.eventually("the preflight is killed", || s.survivors() == [worker]);
        s.stop();
    }

    #[test]
    fn stop_does_not_wait_for_a_preflight() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        s.replace_program(&script("exec sleep 1000"));
        let upgrade = s.spawn_command(&UPGRADE);
        s.wait_line_starting("upgrade: trying ");
        s.process().signal(Signal::SIGTERM);
        upgrade.wait().expect(3, &[]);
        s.expect_exit(0); // the preflight is killed, too
    }

    #[test]
    fn upgrade_is_refused_during_a_stop() {
        let s = upgradable(&[]).sh(STUBBORN).start();
        let worker = s.wait_generation(1);
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{worker}"
        ));
        s.command(&UPGRADE).expect(3, &["has been told to stop"]);
        s.wait_line("no upgrade any more: everything is being stopped");
        let tried = s.lines().iter().any(|line| line.contains("trying"));
        assert!(!tried);
        worker.signal(Signal::SIGKILL);
        s.expect_exit(0);
    }

    /// The loader warns like this of a missing library in LD_PRELOAD.
    #[test]
    fn release_that_warns_before_its_version_is_accepted() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let real = s.copy_program("real");
        let warns = format!("echo a warning >&2; exec {} \"$@\"", real.display());
        s.replace_program(&script(&warns));
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(s.wait_generation(1), worker);
        s.stop();
    }

    /// The preflight would pass. After the exec the release would be a child of the shell that the supervisor has become.
    #[test]
    fn script_that_does_not_exec_the_release_is_refused() {
        let s = upgradable(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let real = s.copy_program("real");
        s.replace_program(&script(&format!("{} \"$@\"; exit $?", real.display())));
        s.command(&UPGRADE).expect(1, &["has to exec it"]);
        assert_eq!(s.wait_generation(1), worker);
        s.stop();
    }
}
