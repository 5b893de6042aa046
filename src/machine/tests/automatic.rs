//! Automatic restarts, and rules that change on the way.

use super::*;

#[test]
fn auto_restart_counts_from_readiness() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    bench.pass(Duration::from_millis(59_999));
    assert_eq!(bench.spawned(), [0_u64; 0]);
    bench
        .pass(Duration::from_millis(1))
        .pass(secs(1))
        .exit(101, 0)
        .pass(secs(60));
    assert_eq!(bench.spawned(), [2, 3]);
}

#[test]
fn auto_restart_waits_for_an_old_worker_but_not_for_ever() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..rules()
    });
    bench.hup().pass(secs(1)).done.clear(); // 101 drains
    bench.pass(Duration::from_millis(119_999));
    assert_eq!(bench.spawned(), [0_u64; 0]);
    bench.pass(Duration::from_millis(1));
    assert!(bench.reported(|r| matches!(r, Report::AutoRestart { forced: true, .. })));
    bench.pass(secs(1)).pass(secs(80)).done.clear();
    bench.exit(101, 0).exit(102, 0);
    bench.tick();
    assert!(bench.reported(|r| matches!(r, Report::AutoRestart { forced: false, .. })));
}

#[test]
fn a_given_up_auto_restart_is_tried_again_after_the_interval() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        start_attempts: 1,
        ..rules()
    });
    bench.pass(secs(60)).exit(102, 256).pass(secs(59));
    assert_eq!(bench.spawned(), [2]);
    bench.pass(secs(1));
    assert_eq!(bench.spawned(), [2, 3]);
}

#[test]
fn the_rules_can_be_tuned_on_the_way() {
    let mut bench = Fixture::serving(rules());
    let live_settings = LiveSettings {
        auto_restart: Some(secs(9)),
        kill_old_delay: secs(3),
    };
    bench
        .event(Event::SettingsChanged(live_settings))
        .pass(secs(9))
        .pass(secs(1));
    assert_eq!((bench.spawned(), bench.signals()), (vec![2], vec![]));
    bench.pass(secs(3));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn after_a_failed_check_the_interval_begins_anew() {
    let live_settings = LiveSettings {
        auto_restart: Some(secs(60)),
        kill_old_delay: Duration::ZERO,
    };
    let check = Some(secs(30));
    let rules = rules();
    let mut bench = Fixture::serving(Rules {
        live_settings,
        check,
        ..rules
    });
    let checks = |bench: &Fixture| {
        let check = |action: &&Action| matches!(action, Action::Check(_));
        bench.done.iter().filter(check).count()
    };
    bench.pass(secs(60)).event(Event::CheckFailed);
    bench.pass(Duration::from_millis(59_999));
    assert_eq!(checks(&bench), 1);
    bench.pass(Duration::from_millis(1));
    assert_eq!(checks(&bench), 2);
}
