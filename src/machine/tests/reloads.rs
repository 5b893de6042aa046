//! From a HUP to the swap, or to none.

use super::*;

#[test]
fn a_worker_is_ready_when_it_has_lived_for_the_interval() {
    let mut bench = Fixture::new(rules());
    bench.tick().pass(Duration::from_millis(999));
    assert_eq!(bench.live(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.live(), [(1, 101)]);
    assert_eq!(bench.machine.deadline(), None, "an idle supervisor sleeps");
}

#[test]
fn a_tick_that_comes_early_changes_nothing() {
    let mut bench = Fixture::serving(rules());
    bench.hup().pass(Duration::from_millis(500)).tick().tick();
    assert_eq!((bench.signals(), bench.live()), (vec![], vec![(1, 101)]));
}

#[test]
fn a_reload_swaps_when_the_new_worker_is_ready_and_not_before() {
    let mut bench = Fixture::serving(rules());
    bench.hup().pass(Duration::from_millis(999));
    assert_eq!(bench.signals(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
    assert_eq!(bench.live(), [(1, 101), (2, 102)]);
    bench.exit(101, 0);
    assert_eq!(bench.live(), [(2, 102)]);
}

#[test]
fn a_failing_reload_leaves_the_old_worker_alone_and_burns_numbers() {
    let mut bench = Fixture::serving(rules());
    bench
        .hup()
        .exit(102, 256)
        .pass(secs(1))
        .exit(103, 256)
        .pass(secs(1));
    assert_eq!(bench.spawned(), [2, 3, 4]);
    assert_eq!(bench.signals(), []);
    assert_eq!(bench.live(), [(1, 101)]);
    bench.pass(secs(1));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn attempts_keep_their_distance_however_short_the_interval() {
    let mut bench = Fixture::serving(Rules {
        interval: Duration::ZERO,
        ..rules()
    });
    bench.failures = vec![SpawnFailure::Transient; 5];
    bench.hup().pass(Duration::from_millis(399));
    assert_eq!(bench.spawned(), [2, 3, 4, 5], "one each 100 ms");
}

#[test]
fn hups_during_a_reload_count_together_as_one_more() {
    let mut bench = Fixture::serving(rules());
    bench
        .hup()
        .hup()
        .hup()
        .pass(Duration::from_millis(500))
        .hup();
    assert_eq!(bench.spawned(), [2]);
    bench.pass(Duration::from_millis(500));
    assert_eq!(
        bench.spawned(),
        [2, 3],
        "the queued one starts when the first is through"
    );
    bench.pass(secs(5));
    assert_eq!(bench.spawned(), [2, 3]);
    assert_eq!(
        bench.signals(),
        [
            (101, Signal::TERM),
            (101, Signal::TERM),
            (102, Signal::TERM)
        ],
        "all older workers are signalled, each time"
    );
}

#[test]
fn a_hup_does_not_shorten_the_wait_for_readiness() {
    let mut bench = Fixture::serving(rules());
    bench
        .hup()
        .pass(Duration::from_millis(900))
        .hup()
        .pass(Duration::from_millis(99));
    assert_eq!(bench.signals(), []);
}

#[test]
fn a_hup_between_two_attempts_is_answered_by_the_next() {
    let mut bench = Fixture::serving(rules());
    bench.hup().exit(102, 256).hup().pass(secs(3));
    assert_eq!(bench.spawned(), [2, 3]);
}

#[test]
fn a_hup_during_the_delay_waits_for_its_end() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    bench
        .hup()
        .pass(secs(3))
        .hup()
        .pass(Duration::from_millis(2999));
    assert_eq!((bench.spawned(), bench.signals()), (vec![2], vec![]));
    bench.pass(Duration::from_millis(1));
    assert_eq!(
        (bench.spawned(), bench.signals()),
        (vec![2, 3], vec![(101, Signal::TERM)])
    );
}

#[test]
fn a_program_that_cannot_be_executed_at_a_reload_is_tried_again() {
    let mut bench = Fixture::serving(rules());
    bench.failures = vec![SpawnFailure::Permanent; 2];
    bench.hup().pass(secs(3));
    assert_eq!(bench.spawned(), [2, 3, 4]);
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn a_reload_is_given_up_after_so_many_attempts() {
    let mut bench = Fixture::serving(Rules {
        start_attempts: 2,
        ..rules()
    });
    bench
        .hup()
        .exit(102, 256)
        .pass(secs(1))
        .exit(103, 256)
        .pass(secs(60));
    assert_eq!(bench.spawned(), [2, 3]);
    assert!(bench.reported(|r| *r
        == Report::GaveUp {
            attempts: 2,
            kept: Some(1)
        }));
    assert_eq!(bench.live(), [(1, 101)]);
    bench.done.clear();
    bench.hup().pass(secs(1));
    assert_eq!(
        bench.signals(),
        [(101, Signal::TERM)],
        "the next good one succeeds"
    );
}

#[test]
fn a_hup_during_the_last_attempt_gets_attempts_of_its_own() {
    let mut bench = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    bench.hup().hup().exit(102, 256);
    assert_eq!(bench.spawned(), [2, 3]);
}
