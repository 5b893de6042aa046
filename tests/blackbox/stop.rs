//! TERM and INT: all workers are signalled and waited for, and the exit status is 0, in each state of the supervisor.

use nix::sys::signal::Signal;
use server_starter_testing::workers::{FAILS, GRACEFUL, SLEEPS, STUBBORN};

use crate::fixtures::{start, supervisor};

#[test]
fn term_stops_the_worker_and_the_supervisor() {
    let s = start(&[], GRACEFUL);
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:0"));
    s.wait_line("exiting");
    s.expect_exit(0);
}

#[test]
fn int_stops_the_worker_and_the_supervisor() {
    let s = start(&[], SLEEPS);
    let worker = s.wait_generation(1);
    s.signal(Signal::SIGINT);
    s.wait_line(&format!(
        "received INT, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:15"));
    s.wait_line("exiting");
    s.expect_exit(0);
}

#[test]
fn old_workers_are_signalled_and_waited_for() {
    // the first worker ignores the TERM of the reload, and exits when it can read a byte
    let worker = "if [ $SERVER_STARTER_GENERATION = 1 ]; then trap '' TERM; up; read go <\"$DIR/gate\"; exit 7; fi; up; exec sleep 1000";
    let s = supervisor(&[])
        .before("mkfifo \"$DIR/gate\"")
        .sh(worker)
        .start();
    let first = s.wait_generation(1);
    s.hup();
    let second = s.wait_generations(&[1, 2])[1];
    s.term();
    // Perl names and signals the draining worker as well; see `extensions`.
    let told = s.wait_pids("received TERM, sending TERM to all workers:");
    assert!(told.contains(&second), "{told:?}");
    s.wait_line(&format!("worker {second} died, status:15"));
    assert_eq!(s.wait_generation(1), first);
    assert!(
        s.exited().is_none() && s.count("exiting") == 0,
        "the supervisor did not wait for the old worker"
    );
    s.open_gate("gate");
    s.wait_line(&format!("worker {first} died, status:1792"));
    s.wait_line("exiting");
    s.expect_exit(0);
}

#[test]
fn supervisor_waits_for_a_slow_worker() {
    let s = supervisor(&[])
        .before("mkfifo \"$DIR/gate\"")
        .sh("trap 'read go <\"$DIR/gate\"; echo done >\"$DIR/last\"; exit 0' TERM; up; rest")
        .start();
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    s.open_gate("gate");
    s.wait_line(&format!("worker {worker} died, status:0"));
    s.expect_exit(0);
    assert_eq!(s.read("last"), "done\n");
}

#[test]
fn term_during_the_first_interval_stops() {
    let s = supervisor(&["--interval=1000"]).sh(SLEEPS).spawn();
    let worker = s.wait_up(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:15"));
    s.expect_exit(0);
}

#[test]
fn term_during_a_failing_start_stops() {
    let s = supervisor(&["--interval=2"]).sh(FAILS).spawn();
    for _ in 0..2 {
        s.wait_line_starting("new worker ");
    }
    s.term();
    s.wait_line_starting("received TERM, sending TERM to all workers:");
    s.wait_line("exiting");
    s.expect_exit(0);
}

#[test]
fn term_during_the_interval_of_a_reload_stops() {
    let s = start(&["--interval=3"], SLEEPS);
    let first = s.wait_generation(1);
    s.hup();
    let second = s.wait_up(2);
    s.term();
    s.wait_line_starting("received TERM, sending TERM to all workers:");
    s.wait_line("exiting");
    s.expect_exit(0);
    for worker in [first, second] {
        let died = format!("worker {worker} died, status:15");
        assert!(
            s.lines().iter().any(|line| line.contains(&died)),
            "the supervisor did not wait for {worker}"
        );
    }
    assert_eq!(s.started().len(), 2);
}

#[test]
fn signal_on_term_is_sent_at_term() {
    let worker = "trap 'exit 5' USR1; up; rest";
    for spelling in ["USR1", "SIGUSR1", "usr1"] {
        let s = start(&["--signal-on-term", spelling], worker);
        let worker = s.wait_generation(1);
        s.term();
        s.wait_line(&format!(
            "received TERM, sending USR1 to all workers:{worker}"
        ));
        s.wait_line(&format!("worker {worker} died, status:1280"));
        s.expect_exit(0);
    }
}

#[test]
fn int_sends_term_despite_signal_on_term() {
    let s = start(&["--signal-on-term=USR1"], SLEEPS);
    let worker = s.wait_generation(1);
    s.signal(Signal::SIGINT);
    s.wait_line(&format!(
        "received INT, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:15"));
    s.expect_exit(0);
}

#[test]
fn signal_on_term_may_be_kill() {
    let s = start(&["--signal-on-term=KILL"], STUBBORN);
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending KILL to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:9"));
    s.expect_exit(0);
}

mod extensions {
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS, FAILS_ON_DEMAND, SLEEPS, STUBBORN};

    use crate::fixtures::{start, supervisor};

    #[test]
    fn quit_stops_the_worker_and_the_supervisor() {
        let s = start(&["--signal-on-term=USR1"], SLEEPS);
        let worker = s.wait_generation(1);
        s.signal(Signal::SIGQUIT);
        s.wait_line(&format!(
            "received QUIT, sending TERM to all workers:{worker}"
        ));
        s.wait_line(&format!("worker {worker} died, status:15"));
        s.wait_line("exiting");
        s.expect_exit(0);
    }

    #[test]
    fn no_worker_is_started_after_term() {
        let s = supervisor(&["--interval=1"]).sh(FAILS).spawn();
        for _ in 0..2 {
            s.wait_line_starting("new worker ");
        }
        s.term();
        s.wait_line_starting("received TERM, sending TERM to all workers:");
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
    fn term_gives_up_a_failing_reload() {
        let s = start(&["--interval=2"], FAILS_ON_DEMAND);
        let first = s.wait_generation(1);
        s.write("fail", "");
        s.hup();
        s.wait_line_starting("new worker ");
        s.term();
        s.wait_line_starting("received TERM, sending TERM to all workers:");
        s.wait_line(&format!("worker {first} died, status:15"));
        s.expect_exit(0);
        assert_eq!(s.count("new worker is now running"), 0);
    }

    #[test]
    fn hups_are_ignored_while_stopping() {
        let s = start(&[], STUBBORN);
        let worker = s.wait_generation(1);
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{worker}"
        ));
        s.hup();
        s.settle();
        worker.signal(Signal::SIGKILL);
        s.wait_line(&format!("worker {worker} died, status:9"));
        s.expect_exit(0);
        assert_eq!(s.started().len(), 1);
    }

    #[test]
    fn second_term_signals_again() {
        // the worker counts the first TERM and exits at the second
        let worker = r#"trap 'echo told >>"$DIR/told"; trap "exit 4" TERM' TERM; up; rest"#;
        let s = start(&[], worker);
        let worker = s.wait_generation(1);
        s.term();
        s.eventually("the first TERM has arrived", || s.read("told") == "told\n");
        s.term();
        s.wait_line(&format!("worker {worker} died, status:1024"));
        assert_eq!(s.wait_exit().code(), Some(0));
    }

    #[test]
    fn worker_that_stays_is_killed_after_the_stop_timeout() {
        let s = start(&["--stop-timeout=0.5"], STUBBORN);
        let worker = s.wait_generation(1);
        s.settle();
        let asked = Instant::now();
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{worker}"
        ));
        s.wait_line(&format!("worker {worker} died, status:9"));
        assert!(
            asked.elapsed() >= Duration::from_millis(500),
            "killed after {:?}",
            asked.elapsed()
        );
        s.expect_exit(0);
    }

    #[test]
    fn stop_timeout_ends_the_whole_process_tree() {
        let worker = "trap '' TERM; sleep 1000 & sh -c 'sleep 1000 & wait' & up; wait";
        let s = start(&["--stop-timeout=0.5"], worker);
        let worker = s.wait_generation(1);
        s.eventually("the tree has grown", || {
            let children = worker.children();
            children.len() == 2 && children.iter().any(|child| child.children().len() == 1)
        });
        let mut tree = worker.children();
        tree.extend(tree.clone().iter().flat_map(|child| child.children()));
        assert_eq!(tree.len(), 3);
        s.term();
        s.wait_line(&format!("worker {worker} died, status:9"));
        s.eventually("nothing of the tree is alive", || {
            tree.iter().all(|process| !process.is_alive())
        });
        s.expect_exit(0);
    }

    #[test]
    fn workers_are_listed_in_numeric_order() {
        let s = start(&[], STUBBORN);
        for generation in 1..=4 {
            s.wait_up(generation);
            s.hup();
        }
        s.wait_generations(&[1, 2, 3, 4, 5]);
        s.term();
        s.wait_line_starting("received TERM, sending TERM to all workers:");
        s.term();
        let list = s.wait_line_starting("received TERM, sending TERM to all workers:");
        let list = list.strip_suffix(" (asked again, so the signal goes to all)");
        let list = list.expect("the line says that the stop was asked for again");
        let pids: Vec<i32> = list.split(',').map(|pid| pid.parse().unwrap()).collect();
        assert!(pids.len() == 5 && pids.is_sorted(), "{list}");
        s.survivors()
            .iter()
            .for_each(|worker| worker.signal(Signal::SIGKILL));
        s.expect_exit(0);
    }
}
