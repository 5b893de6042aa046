//! `--kill-old-delay`: the pause between the readiness of the new generation and the signal to the old one.

use std::time::{Duration, Instant};

use server_starter_testing::Supervisor;
use server_starter_testing::workers::SLEEPS;

use crate::fixtures::{start, supervisor};

#[track_caller]
fn takes_a_second(s: &Supervisor) {
    let first = s.wait_generation(1);
    s.settle();
    let asked = Instant::now();
    s.hup();
    s.wait_line(&format!(
        "new worker is now running, sending TERM to old workers:{first}"
    ));
    s.wait_line("sleeping 1 secs before killing old workers");
    s.wait_line("killing old workers");
    s.wait_line(&format!("old worker {first} died, status:15"));
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "signalled after {:?}",
        asked.elapsed()
    );
    s.wait_generation(2);
    s.stop();
}

#[test]
fn old_generation_is_signalled_after_the_delay() {
    takes_a_second(&start(&["--kill-old-delay=1"], SLEEPS));
}

#[test]
fn delay_is_set_by_the_environment() {
    takes_a_second(
        &supervisor(&[])
            .env("KILL_OLD_DELAY", "1")
            .sh(SLEEPS)
            .start(),
    );
}

#[test]
fn option_overrides_the_environment() {
    takes_a_second(
        &supervisor(&["--kill-old-delay=1"])
            .env("KILL_OLD_DELAY", "1000")
            .sh(SLEEPS)
            .start(),
    );
}

#[test]
fn both_generations_serve_during_the_delay() {
    let s = start(&["--kill-old-delay=5"], SLEEPS);
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line("sleeping 5 secs before killing old workers");
    let both = s.wait_generations(&[1, 2]);
    assert!(both.iter().all(|worker| worker.is_alive()));
    s.wait_line("killing old workers");
    s.wait_line(&format!("old worker {first} died, status:15"));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn delay_defaults_to_0() {
    let s = start(&[], SLEEPS);
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line(&format!("old worker {first} died, status:15"));
    assert_eq!(s.count("sleeping "), 0);
    s.wait_generation(2);
    s.stop();
}

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::start;

    #[test]
    fn old_generation_stays_when_the_new_one_dies_during_the_delay() {
        let s = start(&["--kill-old-delay=4"], SLEEPS);
        let first = s.wait_generation(1);
        s.hup();
        let second = s.wait_new_worker();
        s.wait_line("sleeping 4 secs before killing old workers");
        s.wait_up(2);
        second.signal(Signal::SIGKILL);
        let third = s.wait_new_worker();
        assert!(
            first.is_alive(),
            "the old generation was signalled before the delay was over"
        );
        s.wait_line("sleeping 4 secs before killing old workers");
        assert_eq!(s.wait_generations(&[1, 3]), [first, third]);
        assert_eq!(
            s.count("killing old workers"),
            0,
            "the delay does not count from the readiness of the third generation"
        );
        s.wait_line("killing old workers");
        s.wait_line(&format!("old worker {first} died, status:15"));
        s.wait_generation(3);
        s.stop();
    }

    #[test]
    fn hups_during_the_delay_cause_one_further_reload() {
        let s = start(&["--kill-old-delay=3"], SLEEPS);
        s.hup();
        s.wait_line("sleeping 3 secs before killing old workers");
        s.wait_up(2);
        for _ in 0..3 {
            s.hup();
            s.settle();
        }
        s.wait_line("killing old workers");
        s.wait_line("sleeping 3 secs before killing old workers");
        s.wait_line("killing old workers");
        s.wait_generation(3);
        s.stop();
        assert_eq!(s.started().len(), 3);
    }

    #[test]
    fn term_during_the_delay_stops_at_once() {
        let s = start(&["--kill-old-delay=1000"], SLEEPS);
        let first = s.wait_generation(1);
        s.hup();
        s.wait_line("sleeping 1000 secs before killing old workers");
        let second = s.wait_generations(&[1, 2])[1];
        s.term();
        let mut both = [first, second];
        both.sort();
        assert_eq!(
            s.wait_pids("received TERM, sending TERM to all workers:"),
            both
        );
        s.expect_exit(0);
        assert_eq!(s.count("killing old workers"), 0);
    }

    #[test]
    fn death_of_an_old_worker_during_the_delay_starts_no_worker() {
        let s = start(&["--kill-old-delay=3"], SLEEPS);
        let first = s.wait_generation(1);
        s.hup();
        s.wait_line("sleeping 3 secs before killing old workers");
        s.wait_up(2);
        first.signal(Signal::SIGKILL);
        s.wait_line(&format!("old worker {first} died, status:9"));
        s.wait_generation(2);
        s.stop();
        assert_eq!(s.started().len(), 2);
    }

    #[test]
    fn delay_may_be_a_fraction_of_a_second() {
        let s = start(&["--kill-old-delay=0.2"], SLEEPS);
        let first = s.wait_generation(1);
        s.hup();
        s.wait_line("sleeping 0.2 secs before killing old workers");
        s.wait_line(&format!("old worker {first} died, status:15"));
        s.wait_generation(2);
        s.stop();
    }
}
