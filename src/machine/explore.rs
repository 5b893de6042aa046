//! Walks through every order of events, to a fixed depth, and checks in every state what must
//! stay true. The watcher knows nothing of the machine's insides: it sees events go in and actions
//! come out, as the world does.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::*;
use crate::units::Signal;

/// How many events in a row are tried.
const DEPTH: usize = 10;

/// What somebody outside knows of the workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Watcher {
    workers: BTreeMap<Pid, Seen>,
    last_generation: Generation,
    newest_ready: Option<Pid>,
    /// A HUP has come in and no start has begun since.
    hup_unanswered: bool,
    stop_asked: bool,
    exit: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    generation: Generation,
    /// It has said READY=1.
    said: bool,
    ready: bool,
    signalled: bool,
    /// It has been too late to become ready.
    given_up: bool,
    /// It does not react any more, and is being ended for that.
    stuck: bool,
    born: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    machine: Machine,
    now: Time,
    world: Watcher,
}

/// What may happen next. `Spawn…` says how the next spawn will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hup,
    Term,
    Int,
    /// Time passes until the next deadline.
    Timer,
    /// A moment passes, and a tick comes early.
    Moment,
    Exit(Pid),
    Says(Generation, Word),
    SpawnFails(SpawnFailure),
}

impl State {
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Hup, Step::Term, Step::Int, Step::Moment];
        if self.machine.deadline().is_some() {
            steps.push(Step::Timer);
            steps.push(Step::SpawnFails(SpawnFailure::Passing));
            steps.push(Step::SpawnFails(SpawnFailure::Hopeless));
        }
        steps.extend(self.world.workers.keys().map(|pid| Step::Exit(*pid)));
        let rules = &self.machine.rules;
        let mut words = Vec::new();
        if rules.readiness != Readiness::Alive {
            words.extend([Word::Ready, Word::Extend(Duration::from_secs(7))]);
        }
        if rules.worker_watchdog.is_some() {
            words.extend([Word::Ping, Word::Stuck]);
        }
        for generation in self.world.workers.values().map(|w| w.generation) {
            steps.extend(words.iter().map(|word| Step::Says(generation, *word)));
        }
        steps
    }

    fn take(&self, step: Step) -> State {
        let mut next = self.clone();
        let mut failure = None;
        let event = match step {
            Step::Hup => Event::Hup,
            Step::Term => Event::Stop(Signal::TERM),
            Step::Int => Event::Stop(Signal::INT),
            Step::Exit(pid) => Event::Exited(pid, 256),
            Step::Says(generation, word) => Event::Said(generation, word),
            Step::Moment => {
                next.now += Duration::from_millis(1);
                Event::Tick
            }
            Step::Timer | Step::SpawnFails(_) => {
                next.now = next.now.max(next.machine.deadline().unwrap_or_default());
                if let Step::SpawnFails(why) = step {
                    failure = Some(why);
                }
                Event::Tick
            }
        };
        next.feed(event, failure);
        next
    }

    fn feed(&mut self, event: Event, failure: Option<SpawnFailure>) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.world.before(&event, self.now);
            let rules = self.machine.rules.clone();
            for action in self.machine.handle(event, self.now) {
                if let Some(answer) = self.world.watch(action, failure, &rules, self.now) {
                    events.push(answer);
                }
            }
        }
        self.world.check(&self.machine);
    }
}

impl Watcher {
    fn before(&mut self, event: &Event, now: Time) {
        match event {
            Event::Hup => self.hup_unanswered = true,
            Event::Stop(_) => self.stop_asked = true,
            Event::Exited(pid, _) => {
                self.workers.remove(pid).expect("a worker that lived");
                // It died by itself, or was told to: no promise holds for it any more.
                if self.newest_ready == Some(*pid) {
                    let left = self.workers.iter().filter(|(_, w)| w.ready && !w.signalled);
                    self.newest_ready = left.max_by_key(|(_, w)| w.generation).map(|(p, _)| *p);
                }
            }
            Event::Spawned(pid) => {
                let seen = Seen {
                    generation: self.last_generation,
                    said: false,
                    ready: false,
                    signalled: false,
                    given_up: false,
                    stuck: false,
                    born: now,
                };
                self.workers.insert(*pid, seen);
            }
            Event::Said(generation, Word::Ready) => {
                let speaker = self
                    .workers
                    .values_mut()
                    .find(|w| w.generation == *generation);
                speaker.expect("a worker that lives").said = true;
            }
            _ => {}
        }
    }

    /// One action; answers a spawn.
    fn watch(
        &mut self,
        action: Action,
        failure: Option<SpawnFailure>,
        rules: &Rules,
        now: Time,
    ) -> Option<Event> {
        assert_eq!(self.exit, None, "nothing happens after the exit");
        match action {
            Action::Spawn(generation) => {
                assert!(!self.stop_asked, "no worker is started after a stop");
                assert!(generation > self.last_generation, "no number is used twice");
                let starting = self.workers.values().filter(|w| !w.ready && !w.signalled);
                assert_eq!(starting.count(), 0, "at most one generation is starting");
                self.last_generation = generation;
                self.hup_unanswered = false;
                return Some(match failure {
                    Some(why) => Event::SpawnFailed(why),
                    None => Event::Spawned(100 + generation as Pid),
                });
            }
            Action::Signal(pid, signal) => {
                let newest = self.newest_ready.and_then(|pid| self.workers.get(&pid));
                let swap = signal == rules.signal_on_hup && !self.stop_asked;
                assert!(
                    !(swap && newest.is_some_and(|w| w.stuck)),
                    "nobody makes way for a stuck worker"
                );
                let worker = self
                    .workers
                    .get_mut(&pid)
                    .expect("only live workers are signalled");
                worker.signalled = true;
            }
            Action::Report(Report::Ready { pid, .. }) => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                let lived = worker.born + rules.interval <= now;
                let counts = match rules.readiness {
                    Readiness::Auto => worker.said || lived,
                    Readiness::Alive => lived,
                    Readiness::Notify => worker.said,
                };
                assert!(counts, "nobody is ready before the rule says so");
                assert!(!worker.given_up, "too late is too late");
                worker.ready = true;
                self.newest_ready = Some(pid);
            }
            Action::Report(Report::Stuck { pid, .. }) => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                assert!(worker.ready && !worker.signalled, "who serves is watched");
                worker.stuck = true;
            }
            Action::Report(Report::NeverReady { pid, .. }) => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                assert!(rules.readiness == Readiness::Notify && !worker.said);
                assert!(worker.born + rules.start_timeout <= now, "it had its time");
                worker.given_up = true;
            }
            Action::Exit(code) => {
                assert!(self.workers.is_empty(), "nobody is left behind");
                assert!(
                    code == 1 || self.stop_asked,
                    "status 0 is for a stop that was asked for"
                );
                self.exit = Some(code);
            }
            Action::Report(_) | Action::PublishStatus => {}
        }
        None
    }

    fn check(&self, machine: &Machine) {
        if self.exit.is_some() {
            assert_eq!(machine.deadline(), None, "nothing is due after the exit");
            return;
        }
        if self.stop_asked {
            assert!(!self.workers.is_empty(), "with nobody left a stop is done");
            assert!(
                self.workers.values().all(|w| w.signalled),
                "a stop reaches everyone"
            );
            return;
        }
        if let Some(pid) = self.newest_ready {
            assert!(
                !self.workers[&pid].signalled || self.workers[&pid].stuck,
                "the newest ready worker is left alone"
            );
            for (pid, worker) in &self.workers {
                let newer =
                    worker.generation > self.workers[&self.newest_ready.unwrap()].generation;
                assert!(
                    !(newer && worker.signalled && !worker.given_up),
                    "{pid}: not ready, and yet signalled"
                );
            }
        }
        let speechless = machine.rules.readiness == Readiness::Alive;
        for (pid, worker) in &self.workers {
            let heard = worker.ready || worker.signalled || !worker.said;
            assert!(heard || speechless, "{pid} has said READY to the wind");
        }
        let serving = self.newest_ready.is_some();
        let starting = self.workers.values().any(|w| !w.ready && !w.signalled);
        let giving_up = self.workers.values().all(|w| w.signalled);
        assert!(
            serving || starting || machine.deadline().is_some() || giving_up,
            "somebody serves, or will"
        );
        let ending = giving_up && !serving;
        if self.hup_unanswered && !ending {
            assert!(machine.deadline().is_some(), "a HUP is not forgotten");
        }
        let live: Vec<Pid> = machine.live().map(|(_, pid)| pid).collect();
        let served = |w: &Seen| w.ready || (w.signalled && !w.given_up);
        let seen = self.workers.iter().filter(|(_, w)| served(w));
        let mut seen: Vec<Pid> = seen.map(|(pid, _)| *pid).collect();
        seen.sort_unstable();
        assert_eq!(
            live, seen,
            "the status file lists those who are or were ready"
        );
    }
}

fn explore(name: &str, rules: Rules, depth: usize) -> usize {
    let first = State {
        machine: Machine::new(rules),
        now: Time::ZERO,
        world: Watcher::default(),
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut frontier = vec![first];
    for _ in 0..depth {
        let mut next = Vec::new();
        for state in frontier {
            for step in state.steps() {
                let state = state.take(step);
                if seen.insert(state.clone()) && state.world.exit.is_none() {
                    next.push(state);
                }
            }
        }
        frontier = next;
    }
    println!(
        "{name}: {} states in all orders of up to {depth} events",
        seen.len()
    );
    seen.len()
}

fn rules() -> Rules {
    Rules {
        interval: Duration::from_secs(1),
        readiness: Readiness::Alive,
        start_timeout: Duration::from_secs(5),
        worker_watchdog: None,
        signal_on_hup: Signal::TERM,
        signal_on_term: Signal::QUIT,
        start_attempts: 0,
        first_start_attempts: 0,
        stop_timeout: None,
        tuning: Tuning {
            auto_restart: None,
            kill_old_delay: Duration::ZERO,
        },
    }
}

#[test]
fn plain() {
    assert!(explore("plain", rules(), DEPTH) > 10_000);
}

#[test]
fn with_a_delay_before_the_old_are_killed() {
    let tuning = Tuning {
        auto_restart: None,
        kill_old_delay: Duration::from_secs(3),
    };
    assert!(explore("delay", Rules { tuning, ..rules() }, DEPTH) > 10_000);
}

#[test]
fn with_a_limit_of_attempts() {
    let limits = Rules {
        start_attempts: 2,
        first_start_attempts: 1,
        ..rules()
    };
    assert!(explore("attempts", limits, DEPTH) > 10_000);
}

/// What workers say multiplies the orders: fewer events in a row make as many states.
const DEPTH_WITH_WORDS: usize = 8;

#[test]
fn ready_by_word_or_by_living() {
    let auto = Rules {
        readiness: Readiness::Auto,
        ..rules()
    };
    assert!(explore("auto", auto, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn ready_by_word_alone() {
    let notify = Rules {
        readiness: Readiness::Notify,
        start_attempts: 2,
        stop_timeout: Some(Duration::from_secs(2)),
        ..rules()
    };
    assert!(explore("notify", notify, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn ready_by_word_with_a_delay_before_the_old_are_killed() {
    let notify = Rules {
        readiness: Readiness::Notify,
        tuning: Tuning {
            auto_restart: Some(Duration::from_secs(9)),
            kill_old_delay: Duration::from_secs(3),
        },
        ..rules()
    };
    assert!(explore("notify, delay", notify, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn with_a_watchdog() {
    let watched = Rules {
        worker_watchdog: Some(Duration::from_secs(4)),
        tuning: Tuning {
            auto_restart: None,
            kill_old_delay: Duration::from_secs(6),
        },
        ..rules()
    };
    assert!(explore("watchdog", watched, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn with_everything() {
    let tuning = Tuning {
        auto_restart: Some(Duration::from_secs(9)),
        kill_old_delay: Duration::from_secs(3),
    };
    let everything = Rules {
        interval: Duration::ZERO,
        start_attempts: 2,
        stop_timeout: Some(Duration::from_secs(2)),
        tuning,
        ..rules()
    };
    assert!(explore("everything", everything, DEPTH) > 10_000);
}
