//! Workers that die without having been told to leave.

use super::*;

#[test]
fn current_worker_is_replaced_at_once_when_it_dies() {
    let mut fixture = Fixture::serving(rules());
    fixture.exit(101, 9);
    assert_eq!(fixture.spawned(), [2]);
    fixture.pass(secs(1));
    assert_eq!(fixture.live(), [(2, 102)]);
    assert_eq!(fixture.signals(), []);
}

#[test]
fn current_worker_that_dies_during_a_reload_is_replaced_by_the_new_one() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().exit(101, 9).pass(secs(5));
    assert_eq!(fixture.spawned(), [2]);
    assert_eq!(fixture.live(), [(2, 102)]);
    assert!(fixture.reported(|r| matches!(r, Report::Replacing { old, .. } if old.is_empty())));
}

#[test]
fn attempts_go_on_when_all_workers_die_during_a_reload() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().exit(101, 9).exit(102, 9).pass(secs(5));
    assert_eq!(fixture.spawned(), [2, 3]);
    assert_eq!(fixture.live(), [(3, 103)]);
}

#[test]
fn pause_grows_with_each_quick_death_and_a_hup_ends_it() {
    let mut fixture = Fixture::serving(rules());
    let mut pauses = Vec::new();
    for generation in 1..=9 {
        let died = fixture.now;
        fixture.exit(100 + generation, 9);
        while fixture.live().is_empty() {
            fixture.pass(fixture.machine.deadline().expect("a start") - fixture.now);
        }
        pauses.push((fixture.now - died - secs(1)).as_millis());
    }
    assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]);
    fixture.exit(110, 9);
    assert_eq!(fixture.machine.deadline(), Some(fixture.now + secs(30)));
    fixture.done.clear();
    assert_eq!(fixture.hup().spawned(), [11]);
}

#[test]
fn hup_before_the_death_ends_the_pause_too() {
    let check = Some(secs(10));
    for check in [None, check] {
        let mut fixture = Fixture::serving(Rules { check, ..rules() });
        for _ in 0..6 {
            let (_, pid) = fixture.live()[0];
            fixture.exit(pid, 9);
            while fixture.live().is_empty() {
                fixture.pass(fixture.machine.deadline().expect("a start") - fixture.now);
            }
        }
        let (generation, pid) = fixture.live()[0];
        fixture.pass(secs(1)).done.clear();
        if check.is_some() {
            fixture.hup().exit(pid, 9); // during the check
            assert_eq!(fixture.spawned(), [generation + 1], "at once");
        } else {
            let delay = LiveSettings {
                auto_restart: None,
                kill_old_delay: secs(5),
            };
            fixture.event(Event::SettingsChanged(delay));
            fixture.hup().pass(secs(1)).hup(); // ready, and another reload is wanted
            fixture.pass(secs(1)).exit(pid, 9).exit(pid + 1, 9);
            assert_eq!(
                fixture.spawned(),
                [generation + 1, generation + 2],
                "at once"
            );
        }
    }
}

#[test]
fn quick_deaths_are_forgotten_after_a_worker_that_served_long_was_replaced() {
    let mut fixture = Fixture::serving(rules());
    for _ in 0..5 {
        let (_, pid) = fixture.live()[0];
        fixture.exit(pid, 9).pass(secs(5)).pass(secs(1));
    }
    let (_, pid) = fixture.live()[0];
    fixture.pass(secs(20)).hup().pass(secs(1)).exit(pid, 0);
    let (last, pid) = fixture.live()[0];
    fixture.exit(pid, 9);
    assert_eq!(fixture.spawned().last(), Some(&(last + 1)), "at once");
}

#[test]
fn old_workers_stay_when_the_new_one_dies_during_the_kill_old_delay() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    fixture.hup().pass(secs(3)).exit(102, 9);
    assert_eq!(fixture.spawned(), [2, 3], "another one is started");
    fixture.pass(Duration::from_millis(5999));
    assert_eq!(fixture.signals(), [], "and has a delay of its own");
    assert_eq!(fixture.live(), [(1, 101), (3, 103)]);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn death_of_an_old_worker_during_the_kill_old_delay_changes_nothing_else() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    fixture.hup().pass(secs(3)).exit(101, 9).pass(secs(10));
    assert_eq!(fixture.spawned(), [2]);
    assert_eq!(fixture.signals(), []);
    assert_eq!(fixture.live(), [(2, 102)]);
}

#[test]
fn death_of_an_unknown_process_is_ignored() {
    let mut fixture = Fixture::serving(rules());
    assert_eq!(fixture.exit(4711, 0).done, []);
}

#[test]
fn next_attempt_is_made_at_once_when_the_current_worker_dies_before_it() {
    let mut fixture = Fixture::serving(Rules {
        interval: secs(6),
        start_attempts: 2,
        ..rules()
    });
    fixture.pass(secs(6)).done.clear();
    fixture.hup().pass(secs(1)).exit(102, 256).pass(secs(1));
    fixture.exit(101, 9);
    assert_eq!(fixture.spawned(), [2, 3], "at once");
    // The start is a replacement now, and all its attempts are left.
    fixture.exit(103, 256).pass(secs(6));
    assert_eq!(fixture.spawned(), [2, 3, 4]);
    assert_eq!(fixture.exit_code(), None);
}

#[test]
fn attempts_go_on_while_old_workers_drain() {
    let mut fixture = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    fixture.hup().pass(secs(1)).exit(102, 9);
    fixture
        .exit(103, 256)
        .pass(secs(1))
        .exit(104, 256)
        .pass(secs(1));
    assert_eq!(fixture.spawned(), [2, 3, 4, 5], "worker 101 still drains");
    assert_eq!(fixture.exit_code(), None);
    fixture.hup().exit(101, 0).exit(105, 256);
    assert_eq!(fixture.exit_code(), Some(1), "no worker is left");
}
