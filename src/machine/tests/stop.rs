//! Stopping, and giving up.

use super::*;

#[test]
fn stop_reaches_all_workers_in_every_phase() {
    let delayed = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let in_phase = |prepare: fn(&mut Fixture)| {
        let mut fixture = Fixture::serving(Rules {
            live_settings: delayed,
            ..rules()
        });
        prepare(&mut fixture);
        fixture.done.clear();
        fixture
    };
    type Case = (&'static str, fn(&mut Fixture), &'static [Pid]);
    let phases: [Case; 6] = [
        ("serving", |_| {}, &[101]),
        (
            "starting",
            |b| {
                b.hup();
            },
            &[101, 102],
        ),
        (
            "waiting to start",
            |b| {
                b.hup().exit(102, 256);
            },
            &[101],
        ),
        (
            "kill-old-delay",
            |b| {
                b.hup().pass(secs(2));
            },
            &[101, 102],
        ),
        (
            "draining",
            |b| {
                b.hup().pass(secs(9));
            },
            &[101, 102],
        ),
        (
            "crash loop",
            |b| {
                b.exit(101, 9).pass(secs(1)).exit(102, 9);
            },
            &[],
        ),
    ];
    for (phase, prepare, workers) in phases {
        for (received, sent) in [(Signal::TERM, Signal::QUIT), (Signal::INT, Signal::TERM)] {
            let mut fixture = in_phase(prepare);
            fixture.event(Event::Stop(received));
            // The draining worker has been told by TERM, and is told again only by another signal.
            let told = |pid: &&Pid| phase == "draining" && **pid == 101 && sent == Signal::TERM;
            let untold = workers.iter().filter(|pid| !told(pid));
            let all: Vec<_> = untold.map(|pid| (*pid, sent)).collect();
            assert_eq!(fixture.signals(), all, "{phase}");
            for pid in workers {
                assert_eq!(fixture.exit_code(), None, "{phase}");
                fixture.hup().exit(*pid, 0);
            }
            assert_eq!(fixture.exit_code(), Some(0), "{phase}");
            fixture.hup().pass(secs(100));
            assert_eq!(
                fixture.spawned(),
                [0_u64; 0],
                "{phase}: no worker is started after a stop"
            );
        }
    }
}

#[test]
fn second_stop_signals_the_workers_that_are_left() {
    let mut fixture = Fixture::serving(rules());
    fixture
        .hup()
        .event(Event::Stop(Signal::TERM))
        .exit(102, 0)
        .event(Event::Stop(Signal::INT));
    assert_eq!(
        fixture.signals(),
        [
            (101, Signal::QUIT),
            (102, Signal::QUIT),
            (101, Signal::TERM)
        ]
    );
}

#[test]
fn stop_timeout_counts_from_the_first_signal_and_ends_in_one_sigkill() {
    let mut fixture = Fixture::serving(Rules {
        stop_timeout: Some(secs(10)),
        ..rules()
    });
    fixture
        .hup()
        .pass(secs(1))
        .pass(secs(4))
        .event(Event::Stop(Signal::INT));
    fixture.exit(102, 0).done.clear();
    fixture.pass(Duration::from_millis(5999));
    assert_eq!(fixture.signals(), []);
    fixture.pass(secs(60));
    assert_eq!(fixture.signals(), [(101, Signal::KILL)], "once");
    assert_eq!(fixture.exit(101, 9).exit_code(), Some(0));
}

#[test]
fn permanent_spawn_failure_ends_the_very_first_start() {
    let mut fixture = Fixture::new(rules());
    fixture.failures = vec![SpawnFailure::Permanent];
    assert_eq!(fixture.tick().exit_code(), Some(1));

    let mut fixture = Fixture::new(rules());
    fixture.failures = vec![SpawnFailure::Transient];
    assert_eq!(fixture.tick().exit_code(), None);
    fixture.pass(secs(1));
    assert_eq!(fixture.spawned(), [1, 2]);
}

#[test]
fn supervisor_exits_when_a_start_is_given_up_and_no_worker_is_left() {
    let mut fixture = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    fixture.hup().pass(secs(1)).exit(102, 9).exit(103, 256);
    fixture.exit(101, 0);
    assert_eq!(fixture.exit_code(), None, "one more attempt is made");
    fixture.pass(secs(1)).exit(104, 256);
    assert_eq!(fixture.exit_code(), Some(1));
}

#[test]
fn draining_worker_is_told_again_only_by_another_signal_or_by_a_second_stop() {
    let same = Rules {
        signal_on_term: Signal::TERM,
        ..rules()
    };
    let mut fixture = Fixture::serving(same);
    fixture.hup().pass(secs(2));
    assert_eq!(fixture.signals(), [(101, Signal::TERM)]);
    fixture.done.clear();
    fixture.event(Event::Stop(Signal::TERM));
    assert_eq!(
        fixture.signals(),
        [(102, Signal::TERM)],
        "101 is left alone"
    );
    for received in [Signal::TERM, Signal::INT] {
        fixture.done.clear();
        fixture.event(Event::Stop(received));
        let all = [(101, Signal::TERM), (102, Signal::TERM)];
        assert_eq!(
            fixture.signals(),
            all,
            "asked again, it is passed on each time"
        );
        let again = |r: &Report| matches!(r, Report::Stopping { again: true, .. });
        assert!(fixture.reported(again));
    }
}

#[test]
fn first_stop_after_giving_up_does_not_count_as_a_second_one() {
    let mut fixture = Fixture::serving(Rules {
        start_attempts: 1,
        signal_on_term: Signal::TERM,
        ..rules()
    });
    // The old worker drains, the new one dies, and its replacement too.
    fixture
        .hup()
        .pass(secs(2))
        .exit(102, 9)
        .exit(103, 9)
        .pass(secs(2));
    fixture.done.clear();
    fixture.event(Event::Stop(Signal::TERM));
    let signalled: Vec<Pid> = fixture.signals().iter().map(|(pid, _)| *pid).collect();
    assert!(!signalled.contains(&101), "{signalled:?}");
}
