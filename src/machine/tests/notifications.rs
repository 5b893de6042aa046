//! Readiness by word, and what else workers say.

use super::*;

fn notify() -> Rules {
    Rules {
        readiness: Readiness::Notify,
        ..rules()
    }
}

/// Generation 1 serves, by its own word.
fn serving(rules: Rules) -> Fixture {
    let mut bench = Fixture::new(rules);
    bench.tick().says(1, Notification::Ready);
    bench.done.clear();
    bench
}

#[test]
fn ready_means_ready_at_once() {
    for rules in [rules(), notify()] {
        let mut bench = serving(rules);
        bench.hup().says(2, Notification::Ready);
        assert_eq!(bench.signals(), [(101, Signal::TERM)]);
        assert_eq!(bench.live(), [(1, 101), (2, 102)]);
        assert_eq!(bench.machine.deadline(), None, "an idle supervisor sleeps");
    }
}

#[test]
fn without_a_word_the_interval_decides_unless_the_word_alone_counts() {
    let mut bench = Fixture::serving(rules());
    bench.hup().pass(secs(1));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
    let mut bench = serving(notify());
    bench.hup().pass(secs(59));
    assert_eq!(bench.signals(), []);
}

#[test]
fn a_word_does_not_count_if_living_alone_does() {
    let alive = Rules {
        readiness: Readiness::Alive,
        ..rules()
    };
    let mut bench = Fixture::serving(alive);
    bench.hup().says(2, Notification::Ready);
    assert_eq!(bench.signals(), []);
}

#[test]
fn who_never_says_ready_is_stopped_and_the_old_one_stays() {
    let mut bench = serving(Rules {
        start_attempts: 1,
        ..notify()
    });
    bench.hup().pass(secs(60));
    assert_eq!(bench.signals(), [(102, Signal::QUIT)], "as at a stop");
    let (attempts, kept) = (1, Some(1));
    assert!(bench.reported(|r| *r == Report::GaveUp { attempts, kept }));
    assert_eq!(bench.live(), [(1, 101)], "it is not in the list");
    bench.pass(secs(10));
    assert_eq!(bench.signals()[1..], [(102, Signal::KILL)]);
    bench.exit(102, 9);
    assert!(bench.reported(|r| *r
        == Report::StoppedWorker {
            pid: 102,
            status: Some(9)
        }));
    assert_eq!(bench.live(), [(1, 101)]);
}

#[test]
fn ready_from_a_generation_that_was_given_up_changes_nothing() {
    let mut bench = serving(Rules {
        start_attempts: 1,
        ..notify()
    });
    bench.hup().pass(secs(60)).says(2, Notification::Ready);
    assert_eq!(bench.signals(), [(102, Signal::QUIT)]);
    assert_eq!(bench.live(), [(1, 101)]);
    // While the next one starts, too.
    bench.hup().says(2, Notification::Ready);
    assert_eq!(bench.spawned(), [2, 3]);
    assert_eq!(bench.live(), [(1, 101)]);
    bench.says(3, Notification::Ready);
    assert_eq!(bench.live(), [(1, 101), (3, 103)]);
}

#[test]
fn ready_and_dead_is_a_death() {
    let mut bench = serving(notify());
    bench.hup().exit(102, 256).says(2, Notification::Ready);
    assert_eq!((bench.signals(), bench.live()), (vec![], vec![(1, 101)]));
    bench.pass(secs(1)).says(3, Notification::Ready);
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn ready_twice_is_ready_once() {
    let mut bench = serving(notify());
    bench
        .hup()
        .says(2, Notification::Ready)
        .says(2, Notification::Ready);
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}

#[test]
fn ready_while_everything_is_stopped_comes_too_late() {
    let mut bench = serving(notify());
    bench.hup().event(Event::Stop(Signal::TERM));
    let stopped = bench.signals();
    bench.says(2, Notification::Ready);
    assert_eq!(bench.signals(), stopped);
    bench.exit(101, 0).exit(102, 0);
    assert_eq!(bench.exit_code(), Some(0));
}

#[test]
fn more_time_to_start_is_granted_from_now_on() {
    let mut bench = serving(notify());
    bench
        .hup()
        .pass(secs(50))
        .says(2, Notification::Extend(secs(30)))
        .pass(secs(29));
    assert_eq!(bench.signals(), []);
    // Less than is left shortens nothing.
    bench.says(2, Notification::Extend(Duration::ZERO));
    bench.pass(Duration::from_millis(999));
    assert_eq!(bench.signals(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.signals(), [(102, Signal::QUIT)]);
    assert!(
        bench.reported(|r| matches!(r, Report::NeverReady { after, .. } if *after == secs(80)))
    );
}

#[test]
fn more_time_to_leave_is_granted_too() {
    let mut bench = Fixture::serving(Rules {
        stop_timeout: Some(secs(2)),
        ..rules()
    });
    bench.hup().says(2, Notification::Ready).pass(secs(1));
    bench.says(1, Notification::Extend(secs(5))).pass(secs(4));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
    bench.pass(secs(1));
    assert_eq!(bench.signals()[1..], [(101, Signal::KILL)]);
    assert!(bench.reported(|r| matches!(r, Report::Overdue { after, .. } if *after == secs(6))));
}

#[test]
fn the_first_generation_that_never_says_ready_ends_it_all() {
    let mut bench = Fixture::new(Rules {
        start_attempts: 1,
        first_start_attempts: 1,
        ..notify()
    });
    bench.tick().pass(secs(60));
    assert_eq!(bench.exit_code(), None, "it waits for what it has started");
    bench.exit(101, 15);
    assert_eq!(bench.exit_code(), Some(1));
}

fn watched() -> Fixture {
    Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        ..rules()
    })
}

#[test]
fn who_pings_is_left_alone_and_who_does_not_is_replaced() {
    let mut bench = watched();
    for _ in 0..5 {
        bench.pass(secs(9)).says(1, Notification::Ping);
    }
    assert_eq!(bench.signals(), []);
    bench.pass(secs(10));
    assert_eq!(bench.signals(), [(101, Signal::ABRT)]);
    bench.says(1, Notification::Ping).pass(secs(10));
    assert_eq!(bench.signals()[1..], [(101, Signal::KILL)], "it did not go");
    bench.exit(101, 9).pass(secs(1));
    assert_eq!(bench.spawned(), [2]);
    assert_eq!(bench.live(), [(2, 102)]);
}

#[test]
fn who_says_it_is_stuck_is_believed_once() {
    let mut bench = watched();
    bench
        .says(1, Notification::Stuck)
        .says(1, Notification::Stuck);
    assert_eq!(bench.signals(), [(101, Signal::ABRT)]);
    // Without a watchdog it is nobody's business.
    let mut bench = Fixture::serving(rules());
    bench.says(1, Notification::Stuck);
    assert_eq!(bench.signals(), []);
}

#[test]
fn nobody_makes_way_for_a_new_worker_that_is_stuck() {
    let mut bench = Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: secs(12),
        },
        ..rules()
    });
    // The old one pings on, the new one does not; the delay ends before it is dead.
    bench.hup().pass(secs(1)).pass(secs(5));
    bench.says(1, Notification::Ping).pass(secs(5));
    assert_eq!(bench.signals(), [(102, Signal::ABRT)]);
    bench
        .says(1, Notification::Ping)
        .pass(secs(3))
        .exit(102, 134);
    assert_eq!(bench.signals(), [(102, Signal::ABRT)]);
    assert_eq!(bench.live(), [(1, 101)]);
    assert_eq!(bench.spawned(), [2, 3]);
}

#[test]
fn nobody_makes_way_when_the_delay_ends_with_the_sigkill_of_the_new_one() {
    let mut bench = Fixture::serving(Rules {
        worker_watchdog: Some(secs(10)),
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: secs(10),
        },
        ..rules()
    });
    // It is found stuck when the delay ends, which is put off; and then both are due again.
    bench.hup().pass(secs(1));
    for _ in 0..4 {
        bench.says(1, Notification::Ping).pass(secs(5));
    }
    bench.says(1, Notification::Ping);
    let kill = [(102, Signal::ABRT), (102, Signal::KILL)];
    assert_eq!(bench.signals(), kill);
    assert_eq!(bench.exit(102, 9).live(), [(1, 101)]);
}

#[test]
fn who_starts_or_leaves_need_not_ping() {
    let mut bench = watched();
    bench.says(1, Notification::Ping).hup().pass(secs(1));
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
    for _ in 0..5 {
        bench.pass(secs(9)).says(2, Notification::Ping);
    }
    assert_eq!(bench.signals(), [(101, Signal::TERM)]);
}
