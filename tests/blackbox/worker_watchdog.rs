//! `--worker-watchdog`: a worker that stops saying that it is alive.

mod better {
    use std::time::{Duration, Instant};

    use crate::harness::{SLEEPS, Setup, Voice};

    #[test]
    fn a_worker_that_has_to_ping_and_does_not_is_replaced() {
        let s = Setup::new(&["--worker-watchdog=0.5"]).sh(SLEEPS).start();
        let first = s.wait_generation(1);
        assert_eq!(first.variable("WATCHDOG_USEC").as_deref(), Some("500000"));
        assert_eq!(first.variable("WATCHDOG_PID"), Some(first.to_string()));
        s.wait_line(&format!(
            "worker {first} has not pinged for 0.5 s, sending ABRT"
        ));
        s.wait_line_starting(&format!("worker {first} died unexpectedly with status:"));
        // The next one pings for a while, and lives.
        let second = s.wait_up(2);
        let (voice, start) = (Voice::of(second), Instant::now());
        s.wait_generation(2);
        s.eventually("it has pinged for some time", || {
            voice.say("WATCHDOG=1");
            start.elapsed() > Duration::from_millis(1200)
        });
        assert_eq!(s.wait_generation(2), second);
        voice.say("WATCHDOG=trigger");
        s.wait_line(&format!(
            "worker {second} says that it is stuck, sending ABRT"
        ));
        s.process().signal(nix::sys::signal::Signal::SIGTERM);
        s.expect_exit(0);
    }

    #[test]
    fn without_the_option_nobody_has_to_ping() {
        let s = Setup::new(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        assert_eq!(worker.variable("WATCHDOG_USEC"), None);
        Voice::of(worker).say("WATCHDOG=trigger");
        s.wait_asleep();
        assert!(worker.is_alive());
        s.stop();
    }
}
