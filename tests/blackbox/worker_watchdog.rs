//! `--worker-watchdog`: workers that stop sending WATCHDOG.

mod extensions {
    use std::time::{Duration, Instant};

    use server_starter_testing::NotifyClient;
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::supervisor;

    #[test]
    fn worker_that_misses_its_watchdog_is_replaced() {
        let s = supervisor(&["--worker-watchdog=0.5"]).sh(SLEEPS).start();
        let first = s.wait_generation(1);
        assert_eq!(first.variable("WATCHDOG_USEC").as_deref(), Some("500000"));
        assert_eq!(first.variable("WATCHDOG_PID"), Some(first.to_string()));
        s.wait_line(&format!(
            "worker {first} has not pinged for 0.5 s, sending ABRT"
        ));
        s.wait_line_starting(&format!("worker {first} died unexpectedly with status:"));
        // The next worker lives while it pings.
        let second = s.wait_up(2);
        let (notify, start) = (NotifyClient::of(second), Instant::now());
        s.wait_generation(2);
        s.eventually("the worker has pinged for some time", || {
            notify.send("WATCHDOG=1");
            start.elapsed() > Duration::from_millis(1200)
        });
        assert_eq!(s.wait_generation(2), second);
        notify.send("WATCHDOG=trigger");
        s.wait_line(&format!(
            "worker {second} says that it is stuck, sending ABRT"
        ));
        s.process().signal(nix::sys::signal::Signal::SIGTERM);
        s.expect_exit(0);
    }

    #[test]
    fn watchdog_is_off_by_default() {
        let s = supervisor(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        assert_eq!(worker.variable("WATCHDOG_USEC"), None);
        NotifyClient::of(worker).send("WATCHDOG=trigger");
        s.wait_asleep();
        assert!(worker.is_alive());
        s.stop();
    }
}
