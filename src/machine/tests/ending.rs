//! Stopping, and giving up.

use super::*;

#[test]
fn a_stop_is_obeyed_in_every_state() {
    let delayed = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let in_state = |prepare: fn(&mut Fixture)| {
        let mut bench = Fixture::serving(Rules {
            live_settings: delayed,
            ..rules()
        });
        prepare(&mut bench);
        bench.done.clear();
        bench
    };
    type State = (&'static str, fn(&mut Fixture), &'static [Pid]);
    let states: [State; 6] = [
        ("serving", |_| {}, &[101]),
        (
            "watching",
            |b| {
                b.hup();
            },
            &[101, 102],
        ),
        (
            "pausing",
            |b| {
                b.hup().exit(102, 256);
            },
            &[101],
        ),
        (
            "settling",
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
    for (state, prepare, workers) in states {
        for (received, sent) in [(Signal::TERM, Signal::QUIT), (Signal::INT, Signal::TERM)] {
            let mut bench = in_state(prepare);
            bench.event(Event::Stop(received));
            let all: Vec<_> = workers.iter().map(|pid| (*pid, sent)).collect();
            assert_eq!(bench.signals(), all, "{state}");
            for pid in workers {
                assert_eq!(bench.exit_code(), None, "{state}");
                bench.hup().exit(*pid, 0);
            }
            assert_eq!(bench.exit_code(), Some(0), "{state}");
            bench.hup().pass(secs(100));
            assert_eq!(
                bench.spawned(),
                [0_u64; 0],
                "{state}: no worker is started after a stop"
            );
        }
    }
}

#[test]
fn a_second_stop_signals_those_who_are_left() {
    let mut bench = Fixture::serving(rules());
    bench
        .hup()
        .event(Event::Stop(Signal::TERM))
        .exit(102, 0)
        .event(Event::Stop(Signal::INT));
    assert_eq!(
        bench.signals(),
        [
            (101, Signal::QUIT),
            (102, Signal::QUIT),
            (101, Signal::TERM)
        ]
    );
}

#[test]
fn a_stop_timeout_ends_in_sigkill_counted_from_the_first_signal() {
    let mut bench = Fixture::serving(Rules {
        stop_timeout: Some(secs(10)),
        ..rules()
    });
    bench
        .hup()
        .pass(secs(1))
        .pass(secs(4))
        .event(Event::Stop(Signal::INT));
    bench.exit(102, 0).done.clear();
    bench.pass(Duration::from_millis(5999));
    assert_eq!(bench.signals(), []);
    bench.pass(secs(60));
    assert_eq!(bench.signals(), [(101, Signal::KILL)], "once");
    assert_eq!(bench.exit(101, 9).exit_code(), Some(0));
}

#[test]
fn a_program_that_cannot_be_executed_ends_the_very_first_start() {
    let mut bench = Fixture::new(rules());
    bench.failures = vec![SpawnFailure::Permanent];
    assert_eq!(bench.tick().exit_code(), Some(1));

    let mut bench = Fixture::new(rules());
    bench.failures = vec![SpawnFailure::Transient];
    assert_eq!(bench.tick().exit_code(), None);
    bench.pass(secs(1));
    assert_eq!(bench.spawned(), [1, 2]);
}

#[test]
fn when_nobody_is_left_giving_up_is_the_end() {
    let mut bench = Fixture::serving(Rules {
        start_attempts: 1,
        ..rules()
    });
    bench.hup().pass(secs(1)).exit(102, 9).exit(103, 256);
    bench.exit(101, 0);
    assert_eq!(bench.exit_code(), None, "there is one more try");
    bench.pass(secs(1)).exit(104, 256);
    assert_eq!(bench.exit_code(), Some(1));
}
