//! Long lives: thousands of events at random, under rules at random, with the same invariants. The
//! exhaustive walk sees every short story; this one sees what takes long to come about: crash loops
//! at their longest pause, dozens of generations that drain, numbers of processes that come back.
//!
//! `PROPTEST_CASES` says how many lives (`PROPTEST_RNG_SEED` which ones). One that goes wrong is made
//! shorter for as long as it still does; what is left belongs into a test below, by name.

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::invariants::Invariants;
use crate::machine::*;
use crate::types::Signal;

/// Lives, unless `PROPTEST_CASES` says otherwise: some seconds, unoptimised.
const CASES: u32 = 60;

/// Events in a life, at most.
const LONGEST: usize = 3000;

/// More workers than this the system cannot hold.
const MOST: usize = 30;

/// However many things are due at one moment, they are done after so many ticks.
const TICKS: usize = 10;

/// If nothing goes wrong any more, all is well again within this time: the longest pause of a crash
/// loop, a check, a start, the delays, and what workers have asked for.
const PATIENCE: Duration = Duration::from_secs(90);

/// What may happen next. Numbers choose among the workers that there are, the newest first; what is
/// not possible does not happen. So any part of a story is a story.
#[derive(Debug, Clone, Copy)]
enum Step {
    Hup,
    Ask(Until),
    /// Somebody who has asked goes without an answer.
    Leave(u8),
    Checked(bool),
    Stop(Signal),
    /// Time passes until the next deadline.
    Due,
    /// So many milliseconds pass, with a tick at each deadline.
    Pass(u64),
    /// The next deadline passes, and so many milliseconds more, before anybody looks.
    Oversleep(u64),
    /// A worker ends that has been told to.
    Leaves(u8),
    /// A worker ends, told to or not.
    Dies(u8),
    Says(u8, Notification),
    /// The next spawn fails.
    NoSpawn(SpawnFailure),
    SettingsChanged(LiveSettings),
    /// Batch of what is not there: a foreign process, a dead generation, a check that is over.
    Stale,
    /// Another release takes over.
    Upgrade,
    /// If all went well from here on, it would serve soon, and answer everybody.
    Hope,
}

/// A machine in its world. When a life is over another begins.
#[derive(Clone)]
struct Life {
    machine: Machine,
    rules: Rules,
    now: Time,
    world: Invariants,
    failure: Option<SpawnFailure>,
}

impl Life {
    /// With so many workers of a supervisor that was killed.
    fn new(rules: Rules, adopted: u64, now: Time) -> Life {
        let workers: Vec<_> = (1..=adopted).map(|n| (n, 100 + n as Pid)).collect();
        let since = workers
            .iter()
            .map(|(generation, pid)| (*generation, *pid, now));
        Life {
            machine: Machine::new(rules.clone()).taking_over(since, adopted),
            rules,
            now,
            world: Invariants::with_requests(RequestId::MAX).adopted(&workers, adopted),
            failure: None,
        }
    }

    fn feed(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            self.world.before(&event, self.now);
            let rules = self.machine.rules.clone();
            for action in self.machine.handle(event, self.now) {
                let failure = match &action {
                    Action::Spawn(_) if self.world.workers.len() >= MOST => {
                        Some(SpawnFailure::Transient)
                    }
                    Action::Spawn(_) => self.failure.take(),
                    _ => None,
                };
                let answer = self.world.watch(action, failure, &rules, self.now);
                next = match answer {
                    Some(Event::Spawned(_)) => Some(Event::Spawned(self.free_pid())),
                    Some(failed) => Some(failed),
                    None => next,
                };
            }
        }
        self.world.check(&self.machine);
    }

    /// The lowest that is free: the dead one's, as soon as it may be.
    fn free_pid(&self) -> Pid {
        let is_free = |pid: &Pid| !self.world.workers.contains_key(pid);
        (101..).find(is_free).unwrap_or_default()
    }

    /// All that is due is done, and not over and over again.
    fn tick(&mut self) {
        for _ in 0..TICKS {
            self.feed(Event::Tick);
            if self.machine.deadline().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("it is never done: due {:?}", self.machine.deadline());
    }

    fn due(&mut self) {
        if let Some(at) = self.machine.deadline() {
            self.now = self.now.max(at);
        }
        self.tick();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.machine.deadline().is_some_and(|at| at <= end) {
            self.due();
        }
        self.now = end;
        self.tick();
    }

    /// A worker, by its place among those of whom this is true, the newest first.
    fn choose(&self, place: u8, which: impl Fn(&super::invariants::Seen) -> bool) -> Option<Pid> {
        let workers = self.world.workers.iter().filter(|(_, w)| which(w));
        let mut workers: Vec<_> = workers.map(|(pid, w)| (w.generation, *pid)).collect();
        workers.sort_unstable_by(|a, b| b.cmp(a));
        let place = usize::from(place) % workers.len().max(1);
        workers.get(place).map(|(_, pid)| *pid)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hup => self.feed(Event::Hup),
            Step::Ask(until) => self.feed(Event::ReloadRequested(self.world.next_request(until))),
            Step::Leave(place) => {
                let mut askers = self.world.requests();
                if let Some(id) = askers.nth(usize::from(place)) {
                    drop(askers);
                    self.feed(Event::RequesterGone(id));
                }
            }
            Step::Checked(well) if self.world.checking => self.feed(match well {
                true => Event::CheckPassed,
                false => Event::CheckFailed,
            }),
            Step::Checked(_) => {}
            Step::Stop(signal) => self.feed(Event::Stop(signal)),
            Step::Due => self.due(),
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Step::Oversleep(millis) => {
                let at = self.machine.deadline().unwrap_or_default();
                self.now = self.now.max(at) + Duration::from_millis(millis);
            }
            Step::Leaves(place) => {
                if let Some(pid) = self.choose(place, |w| w.signalled) {
                    self.feed(self.world.end_of(pid, 0));
                }
            }
            Step::Dies(place) => {
                if let Some(pid) = self.choose(place, |_| true) {
                    self.feed(self.world.end_of(pid, 256));
                }
            }
            Step::Says(place, word) => {
                if let Some(pid) = self.choose(place, |_| true) {
                    self.feed(Event::Notified(self.world.workers[&pid].generation, word));
                }
            }
            Step::NoSpawn(why) => self.failure = Some(why),
            Step::SettingsChanged(live_settings) => {
                self.feed(Event::SettingsChanged(live_settings))
            }
            Step::Stale => self.stale(),
            Step::Upgrade => self.upgrade(),
            Step::Hope => self.clone().hope(),
        }
        if self.world.exit.is_some() {
            *self = Life::new(self.rules.clone(), 0, self.now);
        }
    }

    /// What is under way goes on as if nothing had happened.
    fn upgrade(&mut self) {
        let saved = serde_json::to_vec(&self.machine.save()).unwrap();
        let saved = serde_json::from_slice(&saved).unwrap();
        self.machine = Machine::resume(self.machine.rules.clone(), saved);
    }

    fn stale(&mut self) {
        let mut stale = vec![Event::Exited(1, 0), Event::Spawned(1)];
        stale.extend(
            [Notification::Ready, Notification::Stuck]
                .map(|word| Event::Notified(Generation::MAX, word)),
        );
        if !self.world.checking {
            stale.extend([Event::CheckPassed, Event::CheckFailed]);
        }
        let before = self.machine.clone();
        for event in stale {
            let done = self.machine.handle(event.clone(), self.now);
            assert_eq!((done, &self.machine), (vec![], &before), "{event:?}");
        }
    }

    /// Nothing goes wrong, and nobody wants anything new: who has been told to leave does, who
    /// starts becomes ready.
    fn hope(mut self) {
        self.failure = None;
        self.feed(Event::SettingsChanged(LiveSettings {
            auto_restart: None,
            ..self.machine.rules.live_settings
        }));
        let end = self.now + PATIENCE;
        while self.world.exit.is_none() && !self.all_is_well() {
            let starting = self.choose(0, |w| !w.ready && !w.signalled && !w.said);
            if let Some(pid) = self.choose(0, |w| w.signalled) {
                self.feed(self.world.end_of(pid, 0));
            } else if self.world.checking {
                self.feed(Event::CheckPassed);
            } else if let Some(pid) = starting {
                let generation = self.world.workers[&pid].generation;
                self.feed(Event::Notified(generation, Notification::Ready));
            } else {
                let serving = self.world.workers.values().filter(|w| w.ready);
                let serving: Vec<Generation> = serving.map(|w| w.generation).collect();
                for generation in serving {
                    self.feed(Event::Notified(generation, Notification::Ping));
                }
                let due = self.machine.deadline();
                let due = due.expect("it waits for nobody");
                // A worker pings before its time is up, not when.
                let next_ping = self.now + Duration::from_secs(1);
                self.now = self.now.max(due.min(next_ping));
                self.tick();
            }
            assert!(self.now <= end, "it takes too long to recover");
        }
    }

    fn all_is_well(&self) -> bool {
        let serving = self.machine.supervisor_state() == SupervisorState::Serving;
        serving && self.world.owes_nothing() && self.world.workers.len() == 1
    }
}

fn play(rules: &Rules, adopted: u64, steps: &[Step]) {
    let mut life = Life::new(rules.clone(), adopted, Duration::from_secs(1000));
    life.due();
    for step in steps {
        life.take(*step);
    }
    life.hope();
}

/// Few values: things that are due at the same moment are where mistakes are.
fn secs(choices: &'static [u64]) -> impl Strategy<Value = Duration> {
    select(choices).prop_map(Duration::from_secs)
}

fn live_settings() -> impl Strategy<Value = LiveSettings> {
    let auto_restart = proptest::option::of(secs(&[9, 1, 60]));
    (auto_restart, secs(&[0, 3])).prop_map(|(auto_restart, kill_old_delay)| LiveSettings {
        auto_restart,
        kill_old_delay,
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let readiness = select(&[Readiness::Alive, Readiness::Auto, Readiness::Notify][..]);
    let times = (secs(&[1, 0, 3]), secs(&[5, 3]), secs(&[4, 3]));
    let limits = (0..4_u32, 0..4_u32);
    let optional = (any::<bool>(), any::<bool>(), any::<bool>());
    let stop_timeout = secs(&[2, 3, 0, 20]);
    (
        readiness,
        times,
        limits,
        optional,
        stop_timeout,
        live_settings(),
    )
        .prop_map(
            |(
                readiness,
                (interval, start_timeout, other),
                limits,
                optional,
                stop_timeout,
                live_settings,
            )| {
                let (watchdog, check, stop) = optional;
                Rules {
                    interval,
                    readiness,
                    start_timeout,
                    worker_watchdog: watchdog.then_some(other),
                    // Two, so that the invariants knows what is for whom.
                    signal_on_hup: Signal::TERM,
                    signal_on_term: Signal::QUIT,
                    start_attempts: limits.0,
                    first_start_attempts: limits.1,
                    check: check.then_some(other),
                    stop_timeout: stop.then_some(stop_timeout),
                    live_settings,
                }
            },
        )
}

fn word() -> impl Strategy<Value = Notification> {
    let extend = (0..8_u64).prop_map(|secs| Notification::Extend(Duration::from_secs(secs)));
    prop_oneof![
        12 => Just(Notification::Ready),
        4 => Just(Notification::Ping),
        2 => extend,
        1 => Just(Notification::Stuck),
    ]
}

/// In a calm life little fails, and nobody ends it.
fn step(wild: bool) -> impl Strategy<Value = Step> {
    let often = if wild { 10 } else { 2 };
    let until = select(&[Until::Ready, Until::Drained][..]);
    let failure = select(&[SpawnFailure::Transient, SpawnFailure::Permanent][..]);
    let stop = select(&[Signal::TERM, Signal::INT][..]);
    prop_oneof![
        40 => Just(Step::Due),
        20 => (0..20_u8, word()).prop_map(|(place, word)| Step::Says(place / 5, word)),
        20 => any::<u8>().prop_map(Step::Leaves),
        10 => (0..6000_u64).prop_map(Step::Pass),
        10 => Just(Step::Hup),
        8 => until.prop_map(Step::Ask),
        2 => (0..3_u8).prop_map(Step::Leave),
        8 => any::<bool>().prop_map(Step::Checked),
        4 => (0..3000_u64).prop_map(Step::Oversleep),
        2 => live_settings().prop_map(Step::SettingsChanged),
        2 => Just(Step::Stale),
        4 => Just(Step::Upgrade),
        2 => Just(Step::Hope),
        often => (0..20_u8).prop_map(|place| Step::Dies(place / 5)),
        often => failure.prop_map(Step::NoSpawn),
        2 => stop.prop_map(move |signal| if wild { Step::Stop(signal) } else { Step::Hup }),
    ]
}

/// A story, as it would stand in a test.
struct Story((Rules, u64, Vec<Step>));

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story((rules, adopted, steps)) = self;
        writeln!(f, "{rules:#?}\n{adopted} adopted workers")?;
        steps.iter().try_for_each(|step| writeln!(f, "{step:?},"))
    }
}

fn live(wild: bool) {
    let mut config = Config {
        failure_persistence: None,   // it becomes a test
        max_shrink_iters: 1_000_000, // u32::MAX would mean: few
        max_shrink_time: 60_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let stories = (rules(), 0..4_u64, vec(step(wild), 1..LONGEST));
    let outcome = TestRunner::new(config).run(&stories, |(rules, adopted, steps)| {
        play(&rules, adopted, &steps);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, story)) => panic!("{why}\n{}", Story(story)),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn calm_lives() {
    live(false);
}

#[test]
fn wild_lives() {
    live(true);
}
