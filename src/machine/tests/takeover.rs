//! Workers of a supervisor that was killed, and the first generation of the next one.

use super::*;

/// Generations 3 and 5, processes 93 and 95, of a supervisor whose last attempt was generation 6.
fn taking_over(rules: Rules) -> Fixture {
    let workers = [(3, 93, secs(500)), (5, 95, secs(900))];
    Fixture {
        machine: Machine::new(rules.clone()).taking_over(workers, 6),
        ..Fixture::new(rules)
    }
}

fn limited() -> Rules {
    Rules {
        start_attempts: 5,
        first_start_attempts: 1,
        ..rules()
    }
}

fn left_behind(bench: &Fixture) -> bool {
    bench
        .reported(|report| matches!(report, Report::LeftBehind { workers } if *workers == [93, 95]))
}

#[test]
fn adopted_workers_are_told_to_leave_when_the_first_generation_is_ready() {
    let mut bench = taking_over(rules());
    assert_eq!(bench.live(), [(3, 93), (5, 95)]);
    assert_eq!(bench.machine.current(), Some((5, 95)));
    bench.tick();
    assert_eq!(bench.spawned(), [7], "numbers go on");
    assert_eq!(bench.signals(), []);
    bench.pass(secs(1));
    assert_eq!(bench.signals(), [(93, Signal::TERM), (95, Signal::TERM)]);
    assert_eq!(bench.live(), [(3, 93), (5, 95), (7, 107)]);
    assert!(bench.machine.is_adopted(93) && !bench.machine.is_adopted(107));
    bench.event(Event::AdoptedExited(93));
    assert!(bench.reported(|report| {
        matches!(
            report,
            Report::OldDied {
                pid: 93,
                status: None,
                was_current: false,
                ..
            }
        )
    }));
    bench.event(Event::AdoptedExited(95));
    assert_eq!(bench.live(), [(7, 107)]);
}

#[test]
fn adopted_workers_get_the_kill_old_delay_and_the_stop_timeout() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    };
    let mut bench = taking_over(Rules {
        stop_timeout: Some(secs(2)),
        live_settings,
        ..rules()
    });
    bench.tick();
    bench.pass(secs(3));
    assert_eq!(bench.signals(), []);
    bench.pass(secs(1));
    assert_eq!(bench.signals(), [(93, Signal::TERM), (95, Signal::TERM)]);
    bench.event(Event::AdoptedExited(95)).pass(secs(2));
    assert_eq!(bench.signals().last(), Some(&(93, Signal::KILL)));
}

#[test]
fn adopted_workers_stay_when_the_first_start_fails_for_good() {
    let mut bench = taking_over(limited());
    bench.tick();
    bench.exit(107, 256);
    assert_eq!(bench.exit_code(), Some(1));
    assert_eq!(bench.signals(), []);
    assert!(left_behind(&bench));
    assert_eq!(bench.live(), [(3, 93), (5, 95)], "for the status file");

    let mut bench = taking_over(rules());
    bench.failures.push(SpawnFailure::Permanent);
    bench.tick();
    assert_eq!(bench.exit_code(), Some(1));
    assert_eq!(bench.signals(), []);
    assert!(left_behind(&bench));
}

#[test]
fn a_failed_first_worker_is_waited_for_before_adopted_workers_are_left() {
    let mut bench = taking_over(Rules {
        readiness: Readiness::Notify,
        ..limited()
    });
    bench.tick();
    bench.pass(secs(60));
    assert_eq!(bench.signals().last(), Some(&(107, Signal::QUIT)));
    assert!(bench.signals().iter().all(|(pid, _)| *pid == 107));
    assert_eq!(bench.exit_code(), None);
    bench.exit(107, 0);
    assert_eq!(bench.exit_code(), Some(1));
    assert!(left_behind(&bench));
}

#[test]
fn a_stop_reaches_adopted_workers_even_while_they_are_about_to_be_left() {
    let mut bench = taking_over(rules());
    bench.tick();
    bench.event(Event::Stop(Signal::TERM));
    let all = [93, 95, 107].map(|pid| (pid, Signal::QUIT));
    assert_eq!(bench.signals(), all);

    let mut bench = taking_over(Rules {
        readiness: Readiness::Notify,
        ..limited()
    });
    bench.tick();
    bench.pass(secs(60));
    bench.event(Event::Stop(Signal::TERM));
    bench.exit(107, 0);
    assert_eq!(bench.exit_code(), None, "it waits for all");
    bench.event(Event::AdoptedExited(93));
    bench.event(Event::AdoptedExited(95));
    assert_eq!(bench.exit_code(), Some(1));
    assert!(!left_behind(&bench));
}

#[test]
fn without_adopted_workers_left_the_first_start_ends_as_any() {
    let mut bench = taking_over(limited());
    bench.tick();
    bench.event(Event::AdoptedExited(95));
    bench.event(Event::AdoptedExited(93));
    assert!(bench.reported(|report| matches!(
        report,
        Report::OldDied {
            was_current: true,
            ..
        }
    )));
    bench.exit(107, 256);
    assert_eq!(bench.exit_code(), Some(1));
    assert!(!left_behind(&bench));
}

#[test]
fn an_adopted_worker_is_replaced_when_it_dies_as_the_one_that_was_kept() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    };
    let mut bench = taking_over(Rules {
        live_settings,
        start_attempts: 1,
        ..rules()
    });
    bench.tick();
    bench.pass(secs(1));
    bench.exit(107, 256); // in the delay
    bench.exit(108, 256);
    assert!(bench.reported(|report| matches!(report, Report::GaveUp { kept: Some(5), .. })));
    assert_eq!(
        bench.exit_code(),
        None,
        "it has had a generation of its own"
    );
    bench.done.clear();
    bench.event(Event::AdoptedExited(95));
    assert!(bench.reported(|report| {
        matches!(
            report,
            Report::DiedUnexpectedly {
                pid: 95,
                status: None,
                ..
            }
        )
    }));
    assert_eq!(bench.spawned(), [9]);
}

#[test]
fn a_request_during_the_takeover_is_answered_by_one_more_generation() {
    let mut bench = taking_over(rules());
    bench.tick();
    let until = Until::Drained;
    bench.event(Event::ReloadRequested(Request { id: 1, until }));
    bench.pass(secs(2));
    assert_eq!(bench.spawned(), [7, 8]);
    let drained = |bench: &Fixture| {
        bench
            .done
            .iter()
            .any(|action| matches!(action, Action::Answer(_, Answer::Drained(8))))
    };
    bench.exit(107, 0).event(Event::AdoptedExited(93));
    assert!(!drained(&bench), "an adopted worker is waited for");
    bench.event(Event::AdoptedExited(95));
    assert!(drained(&bench));
}
