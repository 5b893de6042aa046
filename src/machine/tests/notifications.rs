//! Notifications of workers: readiness, extended time-outs, the watchdog.

use super::*;

fn notification_required() -> Rules {
    Rules {
        readiness: Readiness::Notify,
        ..rules()
    }
}

/// A machine whose generation 1 serves, and has said so.
fn serving(rules: Rules) -> Fixture {
    let mut fixture = Fixture::new(rules);
    fixture.tick().notify(1, Notification::Ready);
    fixture.done.clear();
    fixture
}

#[test]
fn ready_notification_counts_at_once() {
    for rules in [rules(), notification_required()] {
        let mut fixture = serving(rules);
        fixture.hup().notify(2, Notification::Ready);
        assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
        assert_eq!(fixture.live(), [(1, 101), (2, 102)]);
        assert_eq!(
            fixture.machine.deadline(),
            None,
            "an idle supervisor sleeps"
        );
    }
}

#[test]
fn interval_makes_a_silent_worker_ready_unless_a_notification_is_required() {
    let mut fixture = Fixture::serving(rules());
    fixture.hup().pass(secs(1));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
    let mut fixture = serving(notification_required());
    fixture.hup().pass(secs(59));
    assert_eq!(fixture.signals(), []);
}

#[test]
fn ready_notification_is_ignored_with_readiness_alive() {
    let alive = Rules {
        readiness: Readiness::Alive,
        ..rules()
    };
    let mut fixture = Fixture::serving(alive);
    fixture.hup().notify(2, Notification::Ready);
    assert_eq!(fixture.signals(), []);
}

#[test]
fn worker_that_never_says_ready_is_stopped_and_the_old_one_stays() {
    let mut fixture = serving(Rules {
        start_attempts: 1,
        ..notification_required()
    });
    fixture.hup().pass(secs(60));
    assert_eq!(
        fixture.signals(),
        [(102, Signal::QUIT)],
        "the signal of a stop"
    );
    let (attempts, kept) = (1, Some(1));
    assert!(fixture.reported(|r| *r == Report::GaveUp { attempts, kept }));
    assert_eq!(fixture.live(), [(1, 101)], "worker 102 is not live");
    fixture.pass(secs(10));
    assert_eq!(fixture.signals()[1..], [(102, Signal::KILL)]);
    fixture.exit(102, 9);
    assert!(fixture.reported(|r| *r
        == Report::StoppedWorker {
            pid: 102,
            status: Some(9)
        }));
    assert_eq!(fixture.live(), [(1, 101)]);
}

#[test]
fn ready_notification_of_a_given_up_worker_is_ignored() {
    let mut fixture = serving(Rules {
        start_attempts: 1,
        ..notification_required()
    });
    fixture.hup().pass(secs(60)).notify(2, Notification::Ready);
    assert_eq!(fixture.signals(), [(102, Signal::QUIT)]);
    assert_eq!(fixture.live(), [(1, 101)]);
    // The same while the next worker starts.
    fixture.hup().notify(2, Notification::Ready);
    assert_eq!(fixture.spawned(), [2, 3]);
    assert_eq!(fixture.live(), [(1, 101)]);
    fixture.notify(3, Notification::Ready);
    assert_eq!(fixture.live(), [(1, 101), (3, 103)]);
}

#[test]
fn ready_notification_of_a_dead_worker_is_ignored() {
    let mut fixture = serving(notification_required());
    fixture.hup().exit(102, 256).notify(2, Notification::Ready);
    assert_eq!(
        (fixture.signals(), fixture.live()),
        (vec![], vec![(1, 101)])
    );
    fixture.pass(secs(1)).notify(3, Notification::Ready);
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn second_ready_notification_is_ignored() {
    let mut fixture = serving(notification_required());
    fixture
        .hup()
        .notify(2, Notification::Ready)
        .notify(2, Notification::Ready);
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn ready_notification_during_a_stop_is_ignored() {
    let mut fixture = serving(notification_required());
    fixture.hup().event(Event::Stop(Signal::TERM));
    let stopped = fixture.signals();
    fixture.notify(2, Notification::Ready);
    assert_eq!(fixture.signals(), stopped);
    fixture.exit(101, 0).exit(102, 0);
    assert_eq!(fixture.exit_code(), Some(0));
}

#[test]
fn extension_of_the_start_counts_from_its_notification() {
    let mut fixture = serving(notification_required());
    fixture
        .hup()
        .pass(secs(50))
        .notify(2, Notification::Extend(secs(30)))
        .pass(secs(29));
    assert_eq!(fixture.signals(), []);
    // Less time than is left changes nothing.
    fixture.notify(2, Notification::Extend(Duration::ZERO));
    fixture.pass(Duration::from_millis(999));
    assert_eq!(fixture.signals(), []);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.signals(), [(102, Signal::QUIT)]);
    assert!(
        fixture.reported(|r| matches!(r, Report::NeverReady { after, .. } if *after == secs(80)))
    );
}

#[test]
fn extension_of_the_stop_postpones_sigkill() {
    let mut fixture = Fixture::serving(Rules {
        stop_timeout: Some(secs(2)),
        ..rules()
    });
    fixture.hup().notify(2, Notification::Ready).pass(secs(1));
    fixture
        .notify(1, Notification::Extend(secs(5)))
        .pass(secs(4));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
    fixture.pass(secs(1));
    assert_eq!(fixture.signals()[1..], [(101, Signal::KILL)]);
    assert!(fixture.reported(|r| matches!(r, Report::Overdue { after, .. } if *after == secs(6))));
}

#[test]
fn supervisor_exits_when_the_first_generation_never_says_ready() {
    let mut fixture = Fixture::new(Rules {
        start_attempts: 1,
        first_start_attempts: 1,
        ..notification_required()
    });
    fixture.tick().pass(secs(60));
    assert_eq!(fixture.exit_code(), None, "the given-up worker is alive");
    fixture.exit(101, 15);
    assert_eq!(fixture.exit_code(), Some(1));
}

fn watched() -> Fixture {
    Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        ..rules()
    })
}

#[test]
fn worker_that_stops_pinging_is_aborted_and_replaced() {
    let mut fixture = watched();
    for _ in 0..5 {
        fixture.pass(secs(9)).notify(1, Notification::Ping);
    }
    assert_eq!(fixture.signals(), []);
    fixture.pass(secs(10));
    assert_eq!(fixture.signals(), [(101, Signal::ABRT)]);
    fixture.notify(1, Notification::Ping).pass(secs(10));
    assert_eq!(
        fixture.signals()[1..],
        [(101, Signal::KILL)],
        "the worker did not die of SIGABRT"
    );
    fixture.exit(101, 9).pass(secs(1));
    assert_eq!(fixture.spawned(), [2]);
    assert_eq!(fixture.live(), [(2, 102)]);
}

#[test]
fn worker_that_says_it_is_stuck_is_aborted_once() {
    let mut fixture = watched();
    fixture
        .notify(1, Notification::Stuck)
        .notify(1, Notification::Stuck);
    assert_eq!(fixture.signals(), [(101, Signal::ABRT)]);
    // Without a watchdog the notification is ignored.
    let mut fixture = Fixture::serving(rules());
    fixture.notify(1, Notification::Stuck);
    assert_eq!(fixture.signals(), []);
}

#[test]
fn old_workers_stay_when_the_new_one_is_stuck() {
    let mut fixture = Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: secs(12),
        },
        ..rules()
    });
    // The old worker pings on, the new one does not. The delay ends before the new one is dead.
    fixture.hup().pass(secs(1)).pass(secs(5));
    fixture.notify(1, Notification::Ping).pass(secs(5));
    assert_eq!(fixture.signals(), [(102, Signal::ABRT)]);
    fixture
        .notify(1, Notification::Ping)
        .pass(secs(3))
        .exit(102, 134);
    assert_eq!(fixture.signals(), [(102, Signal::ABRT)]);
    assert_eq!(fixture.live(), [(1, 101)]);
    assert_eq!(fixture.spawned(), [2, 3]);
}

#[test]
fn old_workers_stay_when_the_kill_old_delay_ends_with_sigkill_for_the_stuck_new_one() {
    let mut fixture = Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: secs(10),
        },
        ..rules()
    });
    // The worker is found stuck when the delay ends. That is postponed, to the moment of SIGKILL.
    fixture.hup().pass(secs(1));
    for _ in 0..4 {
        fixture.notify(1, Notification::Ping).pass(secs(5));
    }
    fixture.notify(1, Notification::Ping);
    let kill = [(102, Signal::ABRT), (102, Signal::KILL)];
    assert_eq!(fixture.signals(), kill);
    assert_eq!(fixture.exit(102, 9).live(), [(1, 101)]);
}

#[test]
fn starting_and_draining_workers_need_not_ping() {
    let mut fixture = watched();
    fixture.notify(1, Notification::Ping).hup().pass(secs(1));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
    for _ in 0..5 {
        fixture.pass(secs(9)).notify(2, Notification::Ping);
    }
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
}

#[test]
fn resumed_supervisor_gives_a_silent_worker_one_more_period() {
    let mut fixture = Fixture::serving(Rules {
        worker_watchdog: Some(secs(3)),
        ..rules()
    });
    fixture.now += secs(100); // frozen, workers and all
    fixture.event(Event::Resumed).tick();
    assert_eq!(fixture.signals(), []);
    fixture
        .pass(secs(2))
        .notify(1, Notification::Ping)
        .pass(secs(2));
    assert_eq!(fixture.signals(), [], "it pings again");
    fixture.pass(secs(2));
    assert_eq!(
        fixture.signals(),
        [(101, Signal::ABRT)],
        "a stuck one is still found"
    );
}

#[test]
fn resumed_supervisor_gives_a_starting_worker_its_whole_time() {
    let mut fixture = Fixture::new(Rules {
        readiness: Readiness::Notify,
        start_timeout: secs(10),
        ..rules()
    });
    fixture.tick();
    fixture.now += secs(100);
    fixture.event(Event::Resumed).tick();
    assert!(!fixture.reported(|r| matches!(r, Report::NeverReady { .. })));
    fixture.pass(secs(9)).notify(1, Notification::Ready);
    assert_eq!(fixture.live(), [(1, 101)]);
}

#[test]
fn resumed_supervisor_gives_a_draining_worker_its_whole_stop_timeout() {
    let mut fixture = Fixture::serving(Rules {
        stop_timeout: Some(secs(5)),
        ..rules()
    });
    fixture.hup().pass(secs(1));
    fixture.done.clear();
    fixture.now += secs(100);
    fixture.event(Event::Resumed).tick().pass(secs(4));
    assert_eq!(fixture.signals(), []);
    fixture.pass(secs(2));
    assert_eq!(fixture.signals(), [(101, Signal::KILL)]);
}
