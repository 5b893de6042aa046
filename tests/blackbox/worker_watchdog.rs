//! `--worker-watchdog`: workers that stop sending WATCHDOG.

mod extensions {
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
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
    fn worker_that_was_stopped_together_with_the_supervisor_is_not_aborted() {
        let s = supervisor(&["--worker-watchdog=2"]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let notify = NotifyClient::of(worker);
        notify.send("WATCHDOG=1");
        let stopped = Instant::now();
        for process in [s.process(), worker] {
            process.signal(Signal::SIGSTOP);
        }
        s.eventually(
            "more than the watchdog time and the margin has passed",
            || stopped.elapsed() > Duration::from_secs(4),
        );
        for process in [worker, s.process()] {
            process.signal(Signal::SIGCONT);
        }
        let resumed = Instant::now();
        s.eventually(
            "the worker has pinged for longer than the watchdog time",
            || {
                notify.send("WATCHDOG=1");
                resumed.elapsed() > Duration::from_secs(3)
            },
        );
        assert_eq!(s.wait_generation(1), worker);
        // A worker that is really stuck is found.
        s.wait_line(&format!(
            "worker {worker} has not pinged for 2 s, sending ABRT"
        ));
        s.process().signal(Signal::SIGTERM);
        s.expect_exit(0);
    }

    #[test]
    fn children_of_a_stuck_worker_are_killed_after_it() {
        let worker = "if [ $SERVER_STARTER_GENERATION = 1 ]; then sleep 1000 & fi; up; rest";
        let s = supervisor(&["--worker-watchdog=0.5"]).sh(worker).start();
        let first = s.wait_generation(1);
        s.eventually("the worker has a child", || first.children().len() == 1);
        let child = first.children()[0];
        s.wait_line_starting(&format!("worker {first} died unexpectedly with status:"));
        s.eventually("its child is dead", || !child.is_alive());
        s.process().signal(Signal::SIGTERM);
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
