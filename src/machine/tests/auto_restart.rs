//! Automatic restarts, and settings that change.

use super::*;

#[test]
fn auto_restart_counts_from_readiness() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    fixture.pass(Duration::from_millis(59_999));
    assert_eq!(fixture.spawned(), [0_u64; 0]);
    fixture
        .pass(Duration::from_millis(1))
        .pass(secs(1))
        .exit(101, 0)
        .pass(secs(60));
    assert_eq!(fixture.spawned(), [2, 3]);
}

#[test]
fn auto_restart_interval_counts_double_while_an_old_worker_is_alive() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    fixture.hup().pass(secs(1)).done.clear(); // worker 101 drains
    fixture.pass(Duration::from_millis(119_999));
    assert_eq!(fixture.spawned(), [0_u64; 0]);
    fixture.pass(Duration::from_millis(1));
    assert!(fixture.reported(|r| matches!(r, Report::AutoRestart { forced: true, .. })));
    fixture.pass(secs(1)).pass(secs(80)).done.clear();
    fixture.exit(101, 0).exit(102, 0);
    fixture.tick();
    assert!(fixture.reported(|r| matches!(r, Report::AutoRestart { forced: false, .. })));
}

#[test]
fn auto_restart_that_was_given_up_is_tried_again_after_the_interval() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        start_attempts: 1,
        ..rules()
    });
    fixture.pass(secs(60)).exit(102, 256).pass(secs(59));
    assert_eq!(fixture.spawned(), [2]);
    fixture.pass(secs(1));
    assert_eq!(fixture.spawned(), [2, 3]);
}

#[test]
fn changed_settings_take_effect_at_once() {
    let mut fixture = Fixture::serving(rules());
    let live_settings = LiveSettings {
        auto_restart: Some(secs(9)),
        kill_old_delay: secs(3),
    };
    fixture
        .event(Event::SettingsChanged(live_settings))
        .pass(secs(9))
        .pass(secs(1));
    assert_eq!((fixture.spawned(), fixture.signals()), (vec![2], vec![]));
    fixture.pass(secs(3));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn auto_restart_interval_starts_again_after_a_failed_check() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let check = Some(secs(30));
    let rules = rules();
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        check,
        ..rules
    });
    let checks = |fixture: &Fixture| {
        let check = |action: &&Action| matches!(action, Action::Check(_));
        fixture.done.iter().filter(check).count()
    };
    fixture.pass(secs(60)).event(Event::CheckFailed);
    fixture.pass(Duration::from_millis(59_999));
    assert_eq!(checks(&fixture), 1);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(checks(&fixture), 2);
}
