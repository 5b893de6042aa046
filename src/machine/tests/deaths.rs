//! Workers that die unasked.

use super::*;

#[test]
fn the_current_worker_dies_and_is_replaced_at_once() {
    let mut bench = Fixture::serving(rules());
    bench.exit(101, 9);
    assert_eq!(bench.spawned(), [2]);
    bench.pass(secs(1));
    assert_eq!(bench.live(), [(2, 102)]);
    assert_eq!(bench.signals(), []);
}

#[test]
fn the_current_worker_dies_during_a_reload_and_the_new_one_replaces_it() {
    let mut bench = Fixture::serving(rules());
    bench.hup().exit(101, 9).pass(secs(5));
    assert_eq!(bench.spawned(), [2]);
    assert_eq!(bench.live(), [(2, 102)]);
    assert!(bench.reported(|r| matches!(r, Report::Replacing { old, .. } if old.is_empty())));
}

#[test]
fn everyone_dies_during_a_reload_and_the_attempts_go_on() {
    let mut bench = Fixture::serving(rules());
    bench.hup().exit(101, 9).exit(102, 9).pass(secs(5));
    assert_eq!(bench.spawned(), [2, 3]);
    assert_eq!(bench.live(), [(3, 103)]);
}

#[test]
fn quick_deaths_are_replaced_ever_more_slowly_and_a_hup_cuts_the_pause_short() {
    let mut bench = Fixture::serving(rules());
    let mut pauses = Vec::new();
    for generation in 1..=9 {
        let died = bench.now;
        bench.exit(100 + generation, 9);
        while bench.live().is_empty() {
            bench.pass(bench.machine.deadline().expect("a start") - bench.now);
        }
        pauses.push((bench.now - died - secs(1)).as_millis());
    }
    assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]);
    bench.exit(110, 9);
    assert_eq!(bench.machine.deadline(), Some(bench.now + secs(30)));
    bench.done.clear();
    assert_eq!(bench.hup().spawned(), [11]);
}

#[test]
fn a_hup_cuts_the_pause_short_if_it_came_before_the_death_too() {
    let check = Some(secs(10));
    for check in [None, check] {
        let mut bench = Fixture::serving(Rules { check, ..rules() });
        for _ in 0..6 {
            let (_, pid) = bench.live()[0];
            bench.exit(pid, 9);
            while bench.live().is_empty() {
                bench.pass(bench.machine.deadline().expect("a start") - bench.now);
            }
        }
        let (generation, pid) = bench.live()[0];
        bench.pass(secs(1)).done.clear();
        if check.is_some() {
            bench.hup().exit(pid, 9); // while it is being checked
            assert_eq!(bench.spawned(), [generation + 1], "at once");
        } else {
            let delay = LiveSettings {
                auto_restart: None,
                kill_old_delay: secs(5),
            };
            bench.event(Event::SettingsChanged(delay));
            bench.hup().pass(secs(1)).hup(); // ready, and another one is wanted
            bench.pass(secs(1)).exit(pid, 9).exit(pid + 1, 9);
            assert_eq!(bench.spawned(), [generation + 1, generation + 2], "at once");
        }
    }
}

#[test]
fn quick_deaths_are_no_row_across_a_worker_that_served_long_and_was_replaced() {
    let mut bench = Fixture::serving(rules());
    for _ in 0..5 {
        let (_, pid) = bench.live()[0];
        bench.exit(pid, 9).pass(secs(5)).pass(secs(1));
    }
    let (_, pid) = bench.live()[0];
    bench.pass(secs(20)).hup().pass(secs(1)).exit(pid, 0);
    let (last, pid) = bench.live()[0];
    bench.exit(pid, 9);
    assert_eq!(bench.spawned().last(), Some(&(last + 1)), "at once");
}

#[test]
fn the_new_worker_dies_during_the_delay_and_the_old_ones_stay() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    bench.hup().pass(secs(3)).exit(102, 9);
    assert_eq!(bench.spawned(), [2, 3], "another takes its place");
    bench.pass(Duration::from_millis(5999));
    assert_eq!(bench.signals(), [], "and gets its own delay");
    assert_eq!(bench.live(), [(1, 101), (3, 103)]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn an_old_worker_dies_during_the_delay() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    bench.hup().pass(secs(3)).exit(101, 9).pass(secs(10));
    assert_eq!(bench.spawned(), [2]);
    assert_eq!(bench.signals(), []);
    assert_eq!(bench.live(), [(2, 102)]);
}

#[test]
fn a_death_of_a_stranger_is_nobody_s_business() {
    let mut bench = Fixture::serving(rules());
    assert_eq!(bench.exit(4711, 0).done, []);
}

#[test]
fn a_death_between_two_attempts_shortens_the_pause() {
    let mut bench = Fixture::serving(Rules {
        interval: secs(6),
        start_attempts: 2,
        ..rules()
    });
    bench.pass(secs(6)).done.clear();
    bench.hup().pass(secs(1)).exit(102, 256).pass(secs(1));
    bench.exit(101, 9);
    assert_eq!(bench.spawned(), [2, 3], "at once");
    // It is a replacement that is needed now, and it has all its attempts.
    bench.exit(103, 256).pass(secs(6));
    assert_eq!(bench.spawned(), [2, 3, 4]);
    assert_eq!(bench.exit_code(), None);
}

#[test]
fn while_old_ones_drain_nothing_is_given_up() {
    let mut bench = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    bench.hup().pass(secs(1)).exit(102, 9);
    bench
        .exit(103, 256)
        .pass(secs(1))
        .exit(104, 256)
        .pass(secs(1));
    assert_eq!(bench.spawned(), [2, 3, 4, 5], "the first still drains");
    assert_eq!(bench.exit_code(), None);
    bench.hup().exit(101, 0).exit(105, 256);
    assert_eq!(bench.exit_code(), Some(1), "nobody is left");
}
