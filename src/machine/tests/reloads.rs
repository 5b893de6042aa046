//! From a HUP to the takeover, or to giving up.

use super::*;

#[test]
fn worker_is_ready_when_it_has_lived_for_the_interval() {
    let mut fixture = Fixture::new(rules());
    fixture.tick().pass(Duration::from_millis(999));
    assert_eq!(fixture.live(), []);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.live(), [(1, 101)]);
    assert_eq!(
        fixture.machine.deadline(),
        None,
        "an idle supervisor sleeps"
    );
}

#[test]
fn early_tick_changes_nothing() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().pass(Duration::from_millis(500)).tick().tick();
    assert_eq!(
        (fixture.signals(), fixture.live()),
        (vec![], vec![(1, 101)])
    );
}

#[test]
fn old_worker_is_told_to_leave_when_the_new_one_is_ready_and_not_before() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().pass(Duration::from_millis(999));
    assert_eq!(fixture.signals(), []);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
    assert_eq!(fixture.live(), [(1, 101), (2, 102)]);
    fixture.exit(101, 0);
    assert_eq!(fixture.live(), [(2, 102)]);
}

#[test]
fn failed_attempts_leave_the_old_worker_alone_and_use_up_numbers() {
    let mut fixture = Fixture::serving(rules());
    fixture
        .hup()
        .exit(102, 256)
        .pass(secs(1))
        .exit(103, 256)
        .pass(secs(1));
    assert_eq!(fixture.spawned(), [2, 3, 4]);
    assert_eq!(fixture.signals(), []);
    assert_eq!(fixture.live(), [(1, 101)]);
    fixture.pass(secs(1));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn attempts_keep_their_distance_however_short_the_interval() {
    let mut fixture = Fixture::serving(Rules {
        interval: Duration::ZERO,
        ..rules()
    });
    fixture.failures = vec![SpawnFailure::Transient; 5];
    fixture.hup().pass(Duration::from_millis(399));
    assert_eq!(fixture.spawned(), [2, 3, 4, 5], "one attempt in 100 ms");
}

#[test]
fn hups_during_a_reload_are_answered_by_one_more_reload() {
    let mut fixture = Fixture::serving(rules());
    fixture
        .hup()
        .hup()
        .hup()
        .pass(Duration::from_millis(500))
        .hup();
    assert_eq!(fixture.spawned(), [2]);
    fixture.pass(Duration::from_millis(500));
    assert_eq!(
        fixture.spawned(),
        [2, 3],
        "the queued reload starts when the first one has ended"
    );
    fixture.pass(secs(5));
    assert_eq!(fixture.spawned(), [2, 3]);
    assert_eq!(
        fixture.signals(),
        [(101, Signal::TERM), (102, Signal::TERM)],
        "each old worker is told once, though the first one is still draining"
    );
}

#[test]
fn hup_does_not_shorten_the_wait_for_readiness() {
    let mut fixture = Fixture::serving(rules());
    fixture
        .hup()
        .pass(Duration::from_millis(900))
        .hup()
        .pass(Duration::from_millis(99));
    assert_eq!(fixture.signals(), []);
}

#[test]
fn hup_between_two_attempts_is_answered_by_the_next_one() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().exit(102, 256).hup().pass(secs(3));
    assert_eq!(fixture.spawned(), [2, 3]);
}

#[test]
fn hup_during_the_kill_old_delay_waits_for_its_end() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    fixture
        .hup()
        .pass(secs(3))
        .hup()
        .pass(Duration::from_millis(2999));
    assert_eq!((fixture.spawned(), fixture.signals()), (vec![2], vec![]));
    fixture.pass(Duration::from_millis(1));
    assert_eq!(
        (fixture.spawned(), fixture.signals()),
        (vec![2, 3], vec![(101, Signal::TERM)])
    );
}

#[test]
fn permanent_spawn_failure_during_a_reload_is_tried_again() {
    let mut fixture = Fixture::serving(rules());
    fixture.failures = vec![SpawnFailure::Permanent; 2];
    fixture.hup().pass(secs(3));
    assert_eq!(fixture.spawned(), [2, 3, 4]);
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn reload_is_given_up_after_the_limit_of_attempts() {
    let mut fixture = Fixture::serving(Rules {
        start_attempts: 2,
        ..rules()
    });
    fixture
        .hup()
        .exit(102, 256)
        .pass(secs(1))
        .exit(103, 256)
        .pass(secs(60));
    assert_eq!(fixture.spawned(), [2, 3]);
    assert!(fixture.reported(|r| *r
        == Report::GaveUp {
            attempts: 2,
            kept: Some(1)
        }));
    assert_eq!(fixture.live(), [(1, 101)]);
    fixture.done.clear();
    fixture.hup().pass(secs(1));
    assert_eq!(
        fixture.signals(),
        [(101, Signal::TERM)],
        "the next reload succeeds"
    );
}

#[test]
fn hup_during_the_last_attempt_gets_attempts_of_its_own() {
    let mut fixture = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    fixture.hup().hup().exit(102, 256);
    assert_eq!(fixture.spawned(), [2, 3]);
}
