//! HUP: a new generation takes over if, and only if, it becomes ready.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use server_starter_testing::workers::{FAILS_ON_DEMAND, GRACEFUL, SLEEPS, STUBBORN};

use crate::fixtures::start;

#[test]
fn hup_replaces_the_old_generation() {
    let s = start(&[], SLEEPS);
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line("received HUP, spawning a new worker");
    let second = s.wait_new_worker();
    s.wait_line(&format!(
        "new worker is now running, sending TERM to old workers:{first}"
    ));
    s.wait_line("killing old workers");
    s.wait_line(&format!("old worker {first} died, status:15"));
    assert_eq!(s.wait_generation(2), second);
    assert!(second.is_alive() && !first.is_alive());
    s.stop();
}

#[test]
fn repeated_reloads_each_replace_the_generation() {
    let s = start(&[], GRACEFUL);
    for generation in 1..=6 {
        let worker = s.wait_generation(generation);
        s.hup();
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{worker}"
        ));
        s.wait_line(&format!("old worker {worker} died, status:0"));
    }
    s.wait_generation(7);
    s.stop();
}

#[test]
fn wait_status_of_an_old_worker_is_logged_as_is() {
    let s = start(&[], "trap 'exit 3' TERM; up; rest");
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line(&format!("old worker {first} died, status:768"));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn old_generation_is_signalled_when_the_new_one_has_lived_for_the_interval() {
    let s = start(&["--interval=2"], SLEEPS);
    let first = s.wait_generation(1);
    s.settle();
    let asked = Instant::now();
    s.hup();
    s.wait_line(&format!("old worker {first} died, status:15"));
    assert!(
        asked.elapsed() >= Duration::from_secs(2),
        "signalled after {:?}",
        asked.elapsed()
    );
    s.wait_generation(2);
    s.stop();
}

#[test]
fn failed_new_generation_leaves_the_old_one() {
    let s = start(&["--interval=2"], FAILS_ON_DEMAND);
    let first = s.wait_generation(1);
    s.write("fail", "");
    s.hup();
    for _ in 0..2 {
        s.wait_line_starting("starting new worker ");
        s.wait_line_starting("new worker ");
        assert_eq!(s.status(), [(1, first)]);
        assert!(first.is_alive());
    }
    std::fs::remove_file(s.path("fail")).unwrap();
    s.wait_line(&format!(
        "new worker is now running, sending TERM to old workers:{first}"
    ));
    s.wait_line(&format!("old worker {first} died, status:15"));
    // each attempt used a generation
    let attempts = s.started().len();
    let last = s.wait_generation(attempts.try_into().unwrap());
    assert_eq!(s.started().last(), Some(&last));
    let generations: Vec<u32> = s.ups().into_iter().map(|up| up.0).collect();
    assert!(
        generations
            .iter()
            .copied()
            .eq(1..=attempts.try_into().unwrap()),
        "{generations:?}"
    );
    s.stop();
}

#[test]
fn all_old_generations_are_signalled() {
    let s = start(&[], STUBBORN);
    let first = s.wait_generation(1);
    s.hup();
    assert_eq!(
        s.wait_pids("new worker is now running, sending TERM to old workers:"),
        [first]
    );
    let second = s.wait_generations(&[1, 2])[1];
    s.hup();
    // Perl names and signals the draining worker as well; see `extensions`.
    let told = s.wait_pids("new worker is now running, sending TERM to old workers:");
    assert!(told.contains(&second), "{told:?}");
    let third = s.wait_generations(&[1, 2, 3])[2];
    s.settle();
    second.signal(Signal::SIGKILL);
    s.wait_line(&format!("old worker {second} died, status:9"));
    assert_eq!(s.wait_generations(&[1, 3]), [first, third]);
    for worker in [first, third] {
        worker.signal(Signal::SIGKILL);
    }
}

#[test]
fn burst_of_hups_is_survived() {
    let s = start(&["--interval=1"], SLEEPS);
    let first = s.wait_generation(1);
    s.settle();
    for _ in 0..10 {
        s.process().signal(Signal::SIGHUP);
    }
    assert!(
        s.wait_pids("new worker is now running, sending TERM to old workers:")
            .contains(&first)
    );
    s.eventually("some generation is alone", || s.status().len() == 1);
    s.stop();
    assert!(
        s.started().len() <= 11,
        "there were more generations than HUPs"
    );
}

mod extensions {
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS, STUBBORN};

    use crate::fixtures::{start, supervisor};

    /// Appends `GENERATION marked` to `$DIR/marks` if the file `$DIR/mark` exists at its start.
    const SEES_MARK: &str = "if [ -e \"$DIR/mark\" ]; then echo \"$SERVER_STARTER_GENERATION marked\" >>\"$DIR/marks\"; fi; up; exec sleep 1000";

    #[test]
    fn hups_during_a_reload_cause_one_further_reload() {
        let s = start(&["--interval=3"], SEES_MARK);
        s.hup();
        s.wait_line("received HUP, spawning a new worker");
        let second = s.wait_new_worker();
        s.write("mark", "");
        for _ in 0..5 {
            s.process().signal(Signal::SIGHUP);
            s.settle();
        }
        s.wait_line_starting("new worker is now running, sending TERM to old workers:");
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{second}"
        ));
        s.wait_line(&format!("old worker {second} died, status:15"));
        s.wait_generation(3);
        assert!(
            s.read("marks").contains("3 marked\n"),
            "no worker was started after the last HUP"
        );
        s.stop();
        assert_eq!(
            s.started().len(),
            3,
            "the HUPs caused more than one further reload"
        );
    }

    #[test]
    fn hup_does_not_shorten_the_interval_of_a_starting_worker() {
        let s = start(&["--interval=2"], SLEEPS);
        s.settle();
        let asked = Instant::now();
        s.hup();
        s.wait_new_worker();
        s.hup();
        s.wait_line_starting("new worker is now running");
        assert!(
            asked.elapsed() >= Duration::from_secs(2),
            "ready after {:?}",
            asked.elapsed()
        );
        s.wait_generation(3);
        s.stop();
    }

    #[test]
    fn hup_during_the_first_start_is_remembered() {
        let s = supervisor(&["--interval=2"]).sh(SLEEPS).spawn();
        let first = s.wait_new_worker();
        s.hup();
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{first}"
        ));
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn hup_between_failed_attempts_is_served_by_the_next_attempt() {
        let s = start(&["--interval=2"], FAILS_ON_DEMAND);
        let first = s.wait_generation(1);
        s.write("fail", "");
        s.hup();
        s.wait_line_starting("new worker ");
        std::fs::remove_file(s.path("fail")).unwrap();
        s.hup();
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{first}"
        ));
        s.eventually("one generation is left", || {
            s.status().len() == 1 && s.status()[0].1 != first
        });
        s.stop();
    }

    #[test]
    fn interval_may_be_a_fraction_of_a_second() {
        let s = start(&["--interval=0.2"], SLEEPS);
        for generation in 1..=5 {
            let worker = s.wait_generation(generation);
            s.settle();
            let asked = Instant::now();
            s.hup();
            s.wait_line(&format!("old worker {worker} died, status:15"));
            assert!(
                asked.elapsed() >= Duration::from_millis(200),
                "signalled after {:?}",
                asked.elapsed()
            );
        }
        s.stop();
    }

    #[test]
    fn list_of_old_workers_is_none_without_old_workers() {
        let s = start(&["--interval=3"], SLEEPS);
        let first = s.wait_generation(1);
        s.hup();
        s.wait_new_worker();
        first.signal(Signal::SIGKILL);
        s.wait_line("new worker is now running, sending TERM to old workers:none");
        s.wait_generation(2);
        s.stop();
        assert_eq!(
            s.started().len(),
            2,
            "the worker that was starting is not the replacement"
        );
    }

    #[test]
    fn failing_reload_ends_after_the_start_attempts() {
        let s = start(&["--interval=2", "--start-attempts=2"], FAILS_ON_DEMAND);
        let first = s.wait_generation(1);
        s.write("fail", "");
        s.hup();
        s.wait_line("giving up after 2 attempts, generation 1 keeps serving");
        assert_eq!(s.status(), [(1, first)]);
        assert_eq!(s.started().len(), 3);
        std::fs::remove_file(s.path("fail")).unwrap();
        s.hup();
        s.wait_generation(4);
        assert_eq!(s.started().len(), 4);
        s.stop();
    }

    #[test]
    fn old_worker_that_stays_is_killed_after_the_stop_timeout() {
        let s = start(&["--stop-timeout=0.5"], STUBBORN);
        let first = s.wait_generation(1);
        s.settle();
        let asked = Instant::now();
        s.hup();
        s.wait_line(&format!("old worker {first} died, status:9"));
        assert!(
            asked.elapsed() >= Duration::from_millis(500),
            "killed after {:?}",
            asked.elapsed()
        );
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn usr1_and_pipe_are_survived() {
        let s = start(&[], SLEEPS);
        s.signal(Signal::SIGUSR1);
        s.signal(Signal::SIGPIPE);
        s.hup();
        s.wait_generation(2);
        s.stop();
    }
}
