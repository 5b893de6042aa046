//! Readiness by notification, `--ready`.

mod extensions {
    use std::time::{Duration, Instant};

    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS, STUBBORN};

    use crate::fixtures::{NOTIFY, start_notified, supervisor};

    #[test]
    fn only_ready_completes_a_reload_with_ready_notify() {
        let s = start_notified(&NOTIFY);
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        notify.send("STATUS=nearly there\nWATCHDOG=1\nMAINPID=1\nSTOPPING=1\nREADY=0");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1, "a generation other than 1 is listed");
        notify.send("STATUS=done\nREADY=1");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn by_default_ready_ends_the_interval() {
        let s = supervisor(&["--interval=1000"]).sh(SLEEPS).spawn();
        for generation in 1..=3 {
            s.wait_notifying(generation).1.send("READY=1");
            s.wait_generation(generation);
            s.hup();
        }
        s.term();
        s.expect_exit(0);
    }

    #[test]
    fn ready_is_ignored_with_ready_alive() {
        let s = supervisor(&["--ready=alive", "--interval=1000"])
            .sh(SLEEPS)
            .spawn();
        let (_, notify) = s.wait_notifying(1);
        notify.send("READY=1");
        notify.send("READY=1");
        s.wait_asleep();
        assert_eq!(s.status(), []);
        s.term();
        s.expect_exit(0);
    }

    #[test]
    fn new_worker_without_ready_is_stopped_and_the_old_worker_kept() {
        let s = start_notified(&[
            "--ready=notify",
            "--start-timeout=0.3",
            "--start-attempts=1",
        ]);
        s.hup();
        let second = s.wait_up(2);
        s.wait_line(&format!(
            "new worker {second} seems to have failed to start, it never said READY=1 in 0.3 s"
        ));
        s.wait_line("giving up after 1 attempt, generation 1 keeps serving");
        s.wait_line(&format!("worker {second} died, status:15 (killed by TERM)"));
        s.wait_generation(1);
        s.stop();
    }

    #[test]
    fn ready_of_a_timed_out_worker_has_no_effect() {
        let options = [
            "--ready=notify",
            "--start-timeout=0.3",
            "--start-attempts=1",
        ];
        let s = supervisor(&options)
            .sh(&format!(
                "if [ $SERVER_STARTER_GENERATION = 2 ]; then {STUBBORN}; fi; {SLEEPS}"
            ))
            .spawn();
        s.wait_notifying(1).1.send("READY=1");
        s.wait_generation(1);
        s.hup();
        let (second, notify) = s.wait_notifying(2);
        s.wait_line_starting("giving up after 1 attempt");
        notify.send("READY=1");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1);
        s.hup();
        let (_, third) = s.wait_notifying(3);
        notify.send("READY=1\nSTATUS=me too");
        s.wait_asleep();
        assert_eq!(s.status().len(), 1);
        third.send("READY=1");
        s.wait_generation(3);
        // TERM comes first, KILL after the time-out.
        s.eventually("the second worker is killed", || !second.is_alive());
        s.stop();
    }

    #[test]
    fn exit_after_ready_during_the_start_is_a_failure() {
        let s = supervisor(&[
            "--ready=notify",
            "--start-timeout=1000",
            "--start-attempts=1",
        ])
        .sh(FAILS_ON_DEMAND)
        .spawn();
        s.wait_notifying(1).1.send("READY=1");
        s.wait_generation(1);
        s.hup();
        let (second, notify) = s.wait_notifying(2);
        // READY and the death are both pending when the supervisor continues.
        s.process().signal(nix::sys::signal::Signal::SIGSTOP);
        s.eventually("the supervisor is stopped", || {
            s.process().state() == Some('T')
        });
        notify.send("READY=1");
        second.signal(nix::sys::signal::Signal::SIGKILL);
        s.eventually("the second worker is dead", || second.state() == Some('Z'));
        s.process().signal(nix::sys::signal::Signal::SIGCONT);
        s.wait_line_starting(&format!(
            "new worker {second} seems to have failed to start"
        ));
        s.wait_line("giving up after 1 attempt, generation 1 keeps serving");
        s.wait_generation(1);
        s.stop();
    }

    #[test]
    fn extend_timeout_usec_extends_the_start_timeout() {
        let s = start_notified(&[
            "--ready=notify",
            "--start-timeout=0.5",
            "--start-attempts=1",
        ]);
        s.hup();
        let (_, notify) = s.wait_notifying(2);
        let asked = Instant::now();
        notify.send("EXTEND_TIMEOUT_USEC=1000000000");
        s.eventually("the first time-out is over", || {
            asked.elapsed() > Duration::from_millis(600)
        });
        notify.send("READY=1");
        s.wait_generation(2);
        s.stop();
    }
}
