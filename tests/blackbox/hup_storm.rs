//! Many HUPs: no worker piles up, no descriptor leaks, and the last HUP has its effect.

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{Process, Supervisor};

    use crate::fixtures::{start, start_hello};

    /// Appends to `$DIR/marks` if the file `$DIR/mark` exists at its start.
    const SEES_MARK: &str =
        "if [ -e \"$DIR/mark\" ]; then echo seen >>\"$DIR/marks\"; fi; up; exec sleep 1000";

    /// In the end one worker is left, the newest, with no zombie and no more descriptors than before.
    #[track_caller]
    fn is_tidy(s: &Supervisor, descriptors: usize) {
        s.eventually(
            "one worker is left, the newest, and no further descriptor",
            || {
                let newest = s.started().last().copied();
                s.process().children().into_iter().eq(newest)
                    && s.status().iter().map(|entry| entry.1).eq(newest)
                    && s.process().state() == Some('S')
                    && s.process().descriptors().len() == descriptors
            },
        );
        let threads = s.process().status("Threads");
        assert_eq!(threads.as_deref(), Some("1"), "threads leaked");
    }

    #[test]
    fn thousand_hups_at_once_end_in_one_worker() {
        for interval in ["--interval=0", "--interval=0.1"] {
            let s = start(
                &[interval, "--port=127.0.0.1:PORT", "--pid-file=DIR/pid"],
                SEES_MARK,
            );
            s.settle();
            let descriptors = s.process().descriptors().len();
            let mut most = 0;
            for round in 1..=1000 {
                if round == 1000 {
                    s.write("mark", "");
                }
                s.process().signal(Signal::SIGHUP);
                if round % 50 == 0 {
                    most = most.max(s.process().children().len());
                }
            }
            s.eventually("a generation was started after the last HUP", || {
                s.read("marks").contains("seen\n")
            });
            is_tidy(&s, descriptors);
            assert!(most <= 50, "{most} workers at once");
            assert!(
                s.started().len() <= 1001,
                "there were more generations than HUPs"
            );
            s.stop();
        }
    }

    #[test]
    fn hundred_hups_in_a_row_are_all_served() {
        let s = start(&["--path=DIR/a.sock"], SLEEPS);
        s.settle();
        let descriptors = s.process().descriptors().len();
        let memory = |process: Process| {
            process
                .status("VmRSS")
                .unwrap()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap()
        };
        let mut before = 0;
        for generation in 2..=101 {
            s.hup();
            s.wait_generation(generation);
            if generation == 21 {
                before = memory(s.process());
            }
        }
        is_tidy(&s, descriptors);
        let after = memory(s.process());
        assert!(
            after <= before + 512,
            "80 reloads took {before} kB to {after} kB"
        );
        s.stop();
    }

    #[test]
    fn term_after_many_hups_stops() {
        let s = start_hello(&["--port=127.0.0.1:PORT"]);
        for _ in 0..200 {
            s.process().signal(Signal::SIGHUP);
        }
        s.process().signal(Signal::SIGTERM);
        s.expect_exit(0);
        let lines = s.lines();
        let told = lines
            .iter()
            .position(|line| line.starts_with("received TERM"))
            .unwrap();
        assert!(
            !lines[told..]
                .iter()
                .any(|line| line.starts_with("starting new worker")),
            "{lines:#?}"
        );
    }

    #[test]
    fn crashes_and_hups_end_in_one_worker() {
        let s = start(&["--interval=0.05"], SLEEPS);
        s.settle();
        let descriptors = s.process().descriptors().len();
        for round in 0..100 {
            s.process().signal(Signal::SIGHUP);
            if round % 10 == 0 {
                s.process()
                    .children()
                    .iter()
                    .for_each(|worker| worker.signal(Signal::SIGKILL));
            }
        }
        s.hup();
        is_tidy(&s, descriptors);
        s.stop();
    }
}
