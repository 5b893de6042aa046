//! State that an upgrade hands over and that shows later: timers, values of the envdir, limits.

mod extensions {
    use std::process::Command;

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{SLEEPS, STUBBORN};
    use server_starter_testing::{Process, skipped};

    use crate::fixtures::{UPGRADE, upgradable};

    #[test]
    fn timers_continue_across_an_upgrade() {
        let options = ["--kill-old-delay=2", "--stop-timeout=1"];
        let s = upgradable(&options).sh(STUBBORN).start();
        let first = s.wait_generation(1);
        s.hup();
        s.wait_generations(&[1, 2]);
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(1);
        s.wait_line("killing old workers");
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(2);
        s.wait_line(&format!("old worker {first} died, status:9"));
        s.wait_generation(2);
        s.stop();
    }

    /// The envdir is missing during the upgrade: the values of its last reading are kept.
    #[test]
    fn variables_of_the_envdir_are_remembered_across_an_upgrade() {
        let builder = upgradable(&["--envdir=DIR/env"]).file("env/COLOUR", "red\n");
        let s = builder.sh(SLEEPS).start();
        s.wait_generation(1);
        std::fs::rename(s.path("env"), s.path("away")).unwrap();
        s.command(&UPGRADE).expect(0, &[]);
        s.hup();
        let worker = s.wait_generation(2);
        assert_eq!(worker.variable("COLOUR").as_deref(), Some("red"));
        s.stop();
    }

    #[test]
    fn settings_of_the_envdir_stay_and_its_changes_are_seen_after_an_upgrade() {
        let builder = upgradable(&["--envdir=DIR/env", "--kill-old-delay=0"]);
        let builder = builder.file("env/AUTO_RESTART_INTERVAL", "3\n");
        let s = builder
            .file("env/ENABLE_AUTO_RESTART", "1\n")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(1);
        let newest = || s.status().last().map_or(0, |(generation, _)| *generation);
        s.eventually("a generation is started after the interval", || {
            newest() >= 2
        }); // without any other event
        std::fs::remove_file(s.path("env/ENABLE_AUTO_RESTART")).unwrap();
        s.signal(Signal::SIGUSR2);
        s.wait_upgrades(2);
        s.write("env/AUTO_RESTART_INTERVAL", "0.2\n");
        s.write("env/ENABLE_AUTO_RESTART", "1\n");
        let before = newest();
        s.eventually("two generations are started with the new interval", || {
            newest() >= before + 2
        });
        std::fs::remove_file(s.path("env/ENABLE_AUTO_RESTART")).unwrap();
        s.process().signal(Signal::SIGTERM);
        s.expect_exit(0);
    }

    /// The supervisor raises the soft limit of open files for itself only, before or after an upgrade.
    #[test]
    fn workers_have_the_original_limits_after_an_upgrade() {
        let s = upgradable(&[]).before("ulimit -Sn 77").sh(SLEEPS).start();
        s.wait_generation(1);
        s.command(&UPGRADE).expect(0, &[]);
        s.hup();
        assert_eq!(open_files_allowed(s.wait_generation(2)), "77");
        s.stop();
    }

    /// An upgrade does not undo a limit that prlimit(1) has set for later workers.
    #[test]
    fn workers_have_the_limits_set_from_outside_after_an_upgrade() {
        let s = upgradable(&[]).before("ulimit -Sn 77").sh(SLEEPS).start();
        s.wait_generation(1);
        let mut prlimit = Command::new("prlimit");
        prlimit.args([format!("--pid={}", s.process()), "--nofile=99:".to_owned()]);
        if !prlimit.status().is_ok_and(|status| status.success()) {
            skipped("a limit from outside needs prlimit(1)");
            return s.stop();
        }
        for _ in 0..2 {
            s.command(&UPGRADE).expect(0, &[]);
        }
        s.hup();
        assert_eq!(open_files_allowed(s.wait_generation(2)), "99");
        s.stop();
    }

    fn open_files_allowed(worker: Process) -> String {
        let limits = worker.read("limits");
        let mut lines = limits.lines();
        let open = lines.find(|line| line.starts_with("Max open files"));
        open.unwrap().split_whitespace().nth(3).unwrap().to_owned()
    }
}
