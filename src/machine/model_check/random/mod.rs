//! Random sequences of thousands of steps, under random rules, with the same invariants. The
//! exhaustive walk sees every short sequence of events; this one sees what takes long to come about:
//! crash loops at their longest pause, dozens of generations that drain, process ids that are used
//! again.
//!
//! `PROPTEST_CASES` is the number of sequences, and `PROPTEST_RNG_SEED` chooses them. A sequence that
//! fails is shortened for as long as it still does. It then becomes a test with a name.

mod simulation;

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::machine::*;
use crate::types::Signal;
use simulation::{Step, simulate};

/// The number of sequences, unless `PROPTEST_CASES` is set: some seconds without optimisation.
const CASES: u32 = 60;

/// The most steps in a sequence.
const LONGEST: usize = 3000;

/// The most workers that were adopted.
const MOST_ADOPTED: u64 = 3;

#[test]
fn invariants_hold_in_random_sequences_with_few_failures() {
    check(Failures::Few);
}

#[test]
fn invariants_hold_in_random_sequences_with_many_failures_and_stops() {
    check(Failures::ManyAndStops);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failures {
    Few,
    ManyAndStops,
}

fn check(failures: Failures) {
    let mut config = Config {
        failure_persistence: None,   // the sequence becomes a test
        max_shrink_iters: 1_000_000, // u32::MAX would mean: few
        max_shrink_time: 60_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let sequences = (rules(), 0..=MOST_ADOPTED, vec(step(failures), 1..LONGEST));
    let outcome = TestRunner::new(config).run(&sequences, |(rules, adopted, steps)| {
        simulate(&rules, adopted, &steps);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, sequence)) => panic!("{why}\n{}", Sequence(sequence)),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Rules, the number of adopted workers, and what happens; printed as a test would have them.
struct Sequence((Rules, u64, Vec<Step>));

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sequence((rules, adopted, steps)) = self;
        writeln!(f, "{rules:#?}\n{adopted} adopted workers")?;
        steps.iter().try_for_each(|step| writeln!(f, "{step:?},"))
    }
}

fn step(failures: Failures) -> impl Strategy<Value = Step> {
    let (failure_weight, with_stops) = match failures {
        Failures::Few => (2, false),
        Failures::ManyAndStops => (10, true),
    };
    let until = select(&[Until::Ready, Until::Drained][..]);
    let failure = select(&[SpawnFailure::Transient, SpawnFailure::Permanent][..]);
    let stop = select(&[Signal::TERM, Signal::INT][..]);
    let stop = stop.prop_map(move |signal| match with_stops {
        true => Step::Stop(signal),
        false => Step::Hup,
    });
    prop_oneof![
        40 => Just(Step::Deadline),
        20 => (0..20_u8, notification()).prop_map(|(place, what)| Step::Notify(place / 5, what)),
        20 => any::<u8>().prop_map(Step::SignalledWorkerDies),
        10 => (0..6000_u64).prop_map(Step::Pass),
        10 => Just(Step::Hup),
        2 => Just(Step::SocketReplaced),
        1 => (500..100_000_u64).prop_map(Step::Absence),
        8 => until.prop_map(Step::Request),
        2 => (0..3_u8).prop_map(Step::Disconnect),
        8 => any::<bool>().prop_map(|passed| Step::CheckEnds { passed }),
        4 => (0..3000_u64).prop_map(Step::Oversleep),
        2 => live_settings().prop_map(Step::SettingsChanged),
        2 => Just(Step::StaleEvents),
        4 => Just(Step::Upgrade),
        2 => Just(Step::Recover),
        failure_weight => (0..20_u8).prop_map(|place| Step::WorkerDies(place / 5)),
        failure_weight => failure.prop_map(Step::NextSpawnFails),
        2 => stop,
    ]
}

fn notification() -> impl Strategy<Value = Notification> {
    let extend = (0..8_u64).prop_map(|secs| Notification::Extend(Duration::from_secs(secs)));
    prop_oneof![
        12 => Just(Notification::Ready),
        4 => Just(Notification::Ping),
        2 => extend,
        1 => Just(Notification::Stuck),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let readiness = select(&[Readiness::Alive, Readiness::Auto, Readiness::Notify][..]);
    let times = (secs(&[1, 0, 3]), secs(&[5, 3]), secs(&[4, 3]));
    let limits = (0..4_u32, 0..4_u32);
    let optional = (any::<bool>(), any::<bool>(), any::<bool>());
    let stop_timeout = secs(&[2, 3, 0, 20]);
    let all = (
        readiness,
        times,
        limits,
        optional,
        stop_timeout,
        live_settings(),
    );
    all.prop_map(
        |(readiness, times, limits, optional, stop_timeout, live_settings)| {
            let (interval, start_timeout, other) = times;
            let (start_attempts, first_start_attempts) = limits;
            let (watchdog, check, stop) = optional;
            Rules {
                interval,
                readiness,
                start_timeout,
                worker_watchdog: watchdog.then_some(other),
                // The signals differ, so that the invariants can tell a reload from a stop.
                signal_on_hup: Signal::TERM,
                signal_on_term: Signal::QUIT,
                start_attempts,
                first_start_attempts,
                check: check.then_some(other),
                stop_timeout: stop.then_some(stop_timeout),
                live_settings,
            }
        },
    )
}

fn live_settings() -> impl Strategy<Value = LiveSettings> {
    let auto_restart = proptest::option::of(secs(&[9, 1, 60]));
    (auto_restart, secs(&[0, 3])).prop_map(|(auto_restart, kill_old_delay)| LiveSettings {
        auto_restart,
        kill_old_delay,
    })
}

/// Few values, so that many things are due at the same moment: that is where mistakes are.
fn secs(choices: &'static [u64]) -> impl Strategy<Value = Duration> {
    select(choices).prop_map(Duration::from_secs)
}
