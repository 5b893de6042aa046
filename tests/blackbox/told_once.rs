//! A worker is told to leave once. For many servers a second TERM means "at once", and cuts what is under way.

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::{Process, Supervisor};

    use crate::fixtures::supervisor;

    /// Drains for ever after the first TERM; the second one ends it.
    const IMPATIENT: &str =
        r#"trap 'trap - TERM; echo told >>"$DIR/told.$SERVER_STARTER_GENERATION"' TERM; up; rest"#;

    /// A supervisor whose first generation has been told to leave, and drains.
    fn draining(options: &[&str]) -> (Supervisor, Process) {
        let s = supervisor(options).sh(IMPATIENT).start();
        let first = s.wait_generation(1);
        s.hup();
        s.wait_generations(&[1, 2]);
        s.eventually("the first worker was told", || s.read("told.1") == "told\n");
        (s, first)
    }

    fn finish(s: &Supervisor) {
        s.survivors()
            .iter()
            .for_each(|worker| worker.signal(Signal::SIGKILL));
        s.expect_exit(0);
    }

    #[test]
    fn draining_worker_is_not_signalled_by_later_reloads() {
        let (s, first) = draining(&[]);
        for generations in [&[1, 2, 3][..], &[1, 2, 3, 4]] {
            s.hup();
            s.wait_generations(generations);
        }
        s.eventually("the third was told", || s.read("told.3") == "told\n");
        assert!(first.is_alive(), "a later reload has ended it");
        s.term();
        finish(&s);
    }

    #[test]
    fn draining_worker_is_not_signalled_by_the_stop_but_by_a_second_one() {
        let (s, first) = draining(&[]);
        s.term();
        s.eventually("the second was told", || s.read("told.2") == "told\n");
        assert!(first.is_alive(), "the stop has ended it");
        s.term();
        let line = s.wait_line_starting("received TERM, sending TERM to all workers:");
        assert!(line.contains("asked again"), "{line}");
        s.expect_exit(0);
    }

    #[test]
    fn draining_worker_is_signalled_by_a_stop_with_another_signal() {
        let (s, _) = draining(&["--signal-on-term=QUIT"]);
        s.term();
        s.expect_exit(0);
    }

    #[test]
    fn draining_worker_is_not_signalled_after_an_upgrade() {
        let (s, first) = draining(&[]);
        s.signal(Signal::SIGUSR2);
        s.wait_line_starting(&format!("start_server (pid:{}) upgraded", s.process()));
        s.hup();
        s.wait_generations(&[1, 2, 3]);
        s.eventually("the second was told", || s.read("told.2") == "told\n");
        assert!(first.is_alive(), "the next release has told it again");
        s.term();
        finish(&s);
    }
}
