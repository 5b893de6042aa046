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

fn left_behind(fixture: &Fixture) -> bool {
    fixture
        .reported(|report| matches!(report, Report::LeftBehind { workers } if *workers == [93, 95]))
}

#[test]
fn adopted_workers_are_told_to_leave_when_the_first_generation_is_ready() {
    let mut fixture = taking_over(rules());
    assert_eq!(fixture.live(), [(3, 93), (5, 95)]);
    assert_eq!(fixture.machine.current(), Some((5, 95)));
    fixture.tick();
    assert_eq!(fixture.spawned(), [7], "numbers go on");
    assert_eq!(fixture.signals(), []);
    fixture.pass(secs(1));
    assert_eq!(fixture.signals(), [(93, Signal::TERM), (95, Signal::TERM)]);
    assert_eq!(fixture.live(), [(3, 93), (5, 95), (7, 107)]);
    assert!(fixture.machine.is_adopted(93) && !fixture.machine.is_adopted(107));
    fixture.event(Event::AdoptedExited(93));
    assert!(fixture.reported(|report| {
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
    fixture.event(Event::AdoptedExited(95));
    assert_eq!(fixture.live(), [(7, 107)]);
}

#[test]
fn adopted_workers_get_the_kill_old_delay_and_the_stop_timeout() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    };
    let mut fixture = taking_over(Rules {
        stop_timeout: Some(secs(2)),
        live_settings,
        ..rules()
    });
    fixture.tick();
    fixture.pass(secs(3));
    assert_eq!(fixture.signals(), []);
    fixture.pass(secs(1));
    assert_eq!(fixture.signals(), [(93, Signal::TERM), (95, Signal::TERM)]);
    fixture.event(Event::AdoptedExited(95)).pass(secs(2));
    assert_eq!(fixture.signals().last(), Some(&(93, Signal::KILL)));
}

#[test]
fn adopted_workers_stay_when_the_first_start_fails_for_good() {
    let mut fixture = taking_over(limited());
    fixture.tick();
    fixture.exit(107, 256);
    assert_eq!(fixture.exit_code(), Some(1));
    assert_eq!(fixture.signals(), []);
    assert!(left_behind(&fixture));
    assert_eq!(fixture.live(), [(3, 93), (5, 95)], "for the status file");

    let mut fixture = taking_over(rules());
    fixture.failures.push(SpawnFailure::Permanent);
    fixture.tick();
    assert_eq!(fixture.exit_code(), Some(1));
    assert_eq!(fixture.signals(), []);
    assert!(left_behind(&fixture));
}

#[test]
fn supervisor_waits_for_its_failed_worker_before_it_leaves_adopted_ones() {
    let mut fixture = taking_over(Rules {
        readiness: Readiness::Notify,
        ..limited()
    });
    fixture.tick();
    fixture.pass(secs(60));
    assert_eq!(fixture.signals().last(), Some(&(107, Signal::QUIT)));
    assert!(fixture.signals().iter().all(|(pid, _)| *pid == 107));
    assert_eq!(fixture.exit_code(), None);
    fixture.exit(107, 0);
    assert_eq!(fixture.exit_code(), Some(1));
    assert!(left_behind(&fixture));
}

#[test]
fn stop_reaches_adopted_workers_even_while_they_are_about_to_be_left() {
    let mut fixture = taking_over(rules());
    fixture.tick();
    fixture.event(Event::Stop(Signal::TERM));
    let all = [93, 95, 107].map(|pid| (pid, Signal::QUIT));
    assert_eq!(fixture.signals(), all);

    let mut fixture = taking_over(Rules {
        readiness: Readiness::Notify,
        ..limited()
    });
    fixture.tick();
    fixture.pass(secs(60));
    fixture.event(Event::Stop(Signal::TERM));
    fixture.exit(107, 0);
    assert_eq!(fixture.exit_code(), None, "adopted workers are still alive");
    fixture.event(Event::AdoptedExited(93));
    fixture.event(Event::AdoptedExited(95));
    assert_eq!(fixture.exit_code(), Some(1));
    assert!(!left_behind(&fixture));
}

#[test]
fn first_start_ends_as_any_when_all_adopted_workers_have_died() {
    let mut fixture = taking_over(limited());
    fixture.tick();
    fixture.event(Event::AdoptedExited(95));
    fixture.event(Event::AdoptedExited(93));
    assert!(fixture.reported(|report| matches!(
        report,
        Report::OldDied {
            was_current: true,
            ..
        }
    )));
    fixture.exit(107, 256);
    assert_eq!(fixture.exit_code(), Some(1));
    assert!(!left_behind(&fixture));
}

#[test]
fn adopted_worker_that_was_kept_is_replaced_when_it_dies() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    };
    let mut fixture = taking_over(Rules {
        live_settings,
        start_attempts: 1,
        ..rules()
    });
    fixture.tick();
    fixture.pass(secs(1));
    fixture.exit(107, 256); // in the delay
    fixture.exit(108, 256);
    assert!(fixture.reported(|report| matches!(report, Report::GaveUp { kept: Some(5), .. })));
    assert_eq!(fixture.exit_code(), None, "generation 7 was ready");
    let kept = [(3, 93), (5, 95)];
    assert_eq!(fixture.live(), kept, "both serve on");
    assert_eq!(fixture.machine.deadline(), None);
    fixture.done.clear();
    fixture.event(Event::AdoptedExited(95));
    assert!(fixture.reported(|report| {
        matches!(
            report,
            Report::DiedUnexpectedly {
                pid: 95,
                status: None,
                ..
            }
        )
    }));
    assert_eq!(fixture.spawned(), [9]);
}

#[test]
fn request_during_the_takeover_is_answered_by_one_more_generation() {
    let mut fixture = taking_over(rules());
    fixture.tick();
    let until = Until::Drained;
    fixture.event(Event::ReloadRequested(Request { id: 1, until }));
    fixture.pass(secs(2));
    assert_eq!(fixture.spawned(), [7, 8]);
    let drained = |fixture: &Fixture| {
        fixture
            .done
            .iter()
            .any(|action| matches!(action, Action::Answer(_, Answer::Drained(8))))
    };
    fixture.exit(107, 0).event(Event::AdoptedExited(93));
    assert!(!drained(&fixture), "an adopted worker is waited for");
    fixture.event(Event::AdoptedExited(95));
    assert!(drained(&fixture));
}
