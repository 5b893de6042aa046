//! `--enable-auto-restart`: a new generation at regular intervals.

use std::time::{Duration, Instant};

use server_starter_testing::Supervisor;
use server_starter_testing::workers::{SLEEPS, STUBBORN};

use crate::fixtures::{start, supervisor};

/// Waits until two generations were started without a signal, and the old ones have ended.
#[track_caller]
fn restarts(s: &Supervisor) {
    let mut old = s.wait_new_worker();
    for _ in 0..2 {
        s.wait_line("autorestart triggered (interval=2)");
        let new = s.wait_new_worker();
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{old}"
        ));
        s.wait_line("killing old workers");
        s.wait_line(&format!("old worker {old} died, status:15"));
        old = new;
    }
    s.stop();
}

/// No generation is started within two and a half intervals.
#[track_caller]
fn never_restarts(s: &Supervisor) {
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(s.count("autorestart"), 0);
    s.wait_generation(1);
    s.stop();
}

#[test]
fn new_generation_is_started_at_each_interval() {
    let options = [
        "--enable-auto-restart",
        "--auto-restart-interval=2",
        "--kill-old-delay=0",
    ];
    restarts(&start(&options, SLEEPS));
}

#[test]
fn auto_restart_is_enabled_by_the_environment() {
    let builder = supervisor(&[])
        .env("ENABLE_AUTO_RESTART", "1")
        .env("AUTO_RESTART_INTERVAL", "2")
        .env("KILL_OLD_DELAY", "0");
    restarts(&builder.sh(SLEEPS).start());
}

#[test]
fn auto_restart_is_enabled_by_the_envdir() {
    let builder = supervisor(&["--envdir=DIR/env"])
        .file("env/ENABLE_AUTO_RESTART", "1\n")
        .file("env/AUTO_RESTART_INTERVAL", "2\n")
        .file("env/KILL_OLD_DELAY", "0\n");
    restarts(&builder.sh(SLEEPS).start());
}

#[test]
fn interval_without_auto_restart_has_no_effect() {
    never_restarts(&start(&["--auto-restart-interval=1"], SLEEPS));
}

#[test]
fn values_0_and_empty_disable_auto_restart() {
    for no in ["0", ""] {
        let builder = supervisor(&["--auto-restart-interval=1"]).env("ENABLE_AUTO_RESTART", no);
        never_restarts(&builder.sh(SLEEPS).start());
    }
}

#[test]
fn interval_counts_from_the_last_readiness() {
    let options = [
        "--enable-auto-restart",
        "--auto-restart-interval=5",
        "--kill-old-delay=0",
    ];
    let s = start(&options, SLEEPS);
    // the reload comes two seconds into the interval, which begins again
    std::thread::sleep(Duration::from_secs(2));
    s.settle();
    let asked = Instant::now();
    s.hup();
    s.wait_line("autorestart triggered (interval=5)");
    // one second of tolerance: Perl's program counts whole seconds
    assert!(
        asked.elapsed() >= Duration::from_secs(4),
        "after {:?}",
        asked.elapsed()
    );
    s.wait_up(3);
    s.stop();
}

#[test]
fn kill_old_delay_defaults_to_five_seconds_with_auto_restart() {
    let options = ["--enable-auto-restart", "--auto-restart-interval=1000"];
    let s = start(&options, SLEEPS);
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line(&format!(
        "new worker is now running, sending TERM to old workers:{first}"
    ));
    s.wait_line("sleeping 5 secs before killing old workers");
    s.wait_line("killing old workers");
    s.wait_generation(2);
    s.stop();
}

#[test]
fn explicit_kill_old_delay_of_0_is_kept_with_auto_restart() {
    let options = [
        "--enable-auto-restart",
        "--auto-restart-interval=1000",
        "--kill-old-delay=0",
    ];
    let s = start(&options, SLEEPS);
    s.hup();
    s.wait_generation(2);
    assert_eq!(s.count("sleeping "), 0);
    s.stop();
}

#[test]
fn auto_restart_is_forced_after_twice_the_interval_despite_an_old_worker() {
    let options = [
        "--enable-auto-restart",
        "--auto-restart-interval=1",
        "--kill-old-delay=0",
        "--signal-on-term=KILL",
    ];
    let s = start(&options, STUBBORN);
    s.wait_line("autorestart triggered (interval=1)");
    s.wait_line("autorestart triggered (forced, interval=1)");
    s.wait_line_starting("new worker is now running");
    s.wait_up(3);
    assert_eq!(
        s.count("autorestart triggered (interval=1)"),
        1,
        "a restart was triggered while an old worker lived"
    );
    s.term();
    assert_eq!(s.wait_exit().code(), Some(0));
}

#[test]
fn changed_interval_in_the_envdir_takes_effect() {
    let options = [
        "--enable-auto-restart",
        "--kill-old-delay=0",
        "--envdir=DIR/env",
    ];
    let s = supervisor(&options)
        .file("env/AUTO_RESTART_INTERVAL", "1000\n")
        .sh(SLEEPS)
        .start();
    s.wait_generation(1);
    s.write("env/AUTO_RESTART_INTERVAL", "1\n");
    s.wait_line("autorestart triggered (interval=1)");
    s.wait_up(2);
    s.write("env/AUTO_RESTART_INTERVAL", "1000\n");
    s.stop();
}

mod extensions {
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::{start, supervisor};

    #[test]
    fn auto_restart_is_enabled_by_a_changed_envdir() {
        let s = supervisor(&["--envdir=DIR/env", "--auto-restart-interval=1"])
            .file("env/KILL_OLD_DELAY", "0\n")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        s.write("env/ENABLE_AUTO_RESTART", "1\n");
        // the change is seen at the next event at the latest
        s.hup();
        s.wait_line("autorestart triggered (interval=1)");
        std::fs::remove_file(s.path("env/ENABLE_AUTO_RESTART")).unwrap();
        s.stop();
    }

    #[test]
    fn interval_may_be_a_fraction_of_a_second() {
        let options = [
            "--enable-auto-restart",
            "--auto-restart-interval=0.5",
            "--kill-old-delay=0",
        ];
        let s = start(&options, SLEEPS);
        s.wait_line("autorestart triggered (interval=0.5)");
        s.wait_line("autorestart triggered (interval=0.5)");
        s.wait_up(3);
        s.stop();
    }

    #[test]
    fn interval_counts_from_the_restart_after_a_crash() {
        let options = [
            "--enable-auto-restart",
            "--auto-restart-interval=1000",
            "--kill-old-delay=0",
        ];
        let s = start(&options, SLEEPS);
        s.wait_generation(1)
            .signal(nix::sys::signal::Signal::SIGKILL);
        s.wait_generation(2);
        s.stop();
        assert_eq!(s.count("autorestart"), 0);
    }
}
