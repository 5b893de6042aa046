//! Walks through every order of events, to a fixed depth, and checks in every state what must
//! stay true, which is `invariants.rs`.

mod invariants;
mod random;

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::types::Signal;
use invariants::Invariants;

/// How many events in a row are tried.
const DEPTH: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    machine: Machine,
    now: Time,
    world: Invariants,
}

/// What may happen next. `Spawn…` says how the next spawn will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hup,
    Ask(Until),
    /// Who has asked goes without an answer.
    Leave(RequestId),
    /// The check that is running ends: nothing, or something, is wrong.
    Checked(bool),
    Term,
    Int,
    /// Time passes until the next deadline.
    Timer,
    /// A moment passes, and a tick comes early.
    Moment,
    Exit(Pid),
    Says(Generation, Notification),
    SpawnFails(SpawnFailure),
    /// The new process gets the number of an adopted worker that has just ended.
    SpawnReuses(Pid),
}

impl State {
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Hup, Step::Term, Step::Int, Step::Moment];
        if self.machine.deadline().is_some() {
            steps.push(Step::Timer);
            steps.push(Step::SpawnFails(SpawnFailure::Transient));
            steps.push(Step::SpawnFails(SpawnFailure::Permanent));
            let adopted = self.world.workers.iter().filter(|(_, w)| w.adopted);
            steps.extend(adopted.map(|(pid, _)| Step::SpawnReuses(*pid)));
        }
        steps.extend(self.world.workers.keys().map(|pid| Step::Exit(*pid)));
        if self.world.may_ask() {
            steps.extend([Step::Ask(Until::Ready), Step::Ask(Until::Drained)]);
        }
        steps.extend(self.world.askers().map(Step::Leave));
        if self.world.checking {
            steps.extend([Step::Checked(true), Step::Checked(false)]);
        }
        let rules = &self.machine.rules;
        let mut words = Vec::new();
        if rules.readiness != Readiness::Alive {
            words.extend([
                Notification::Ready,
                Notification::Extend(Duration::from_secs(7)),
            ]);
        }
        if rules.worker_watchdog.is_some() {
            words.extend([Notification::Ping, Notification::Stuck]);
        }
        let heard = self.world.workers.values().filter(|w| !w.adopted);
        for generation in heard.map(|w| w.generation) {
            steps.extend(words.iter().map(|word| Step::Says(generation, *word)));
        }
        steps
    }

    fn take(&self, step: Step) -> State {
        let mut next = self.clone();
        let (mut failure, mut reused) = (None, None);
        let event = match step {
            Step::Hup => Event::Hup,
            Step::Ask(until) => Event::ReloadRequested(self.world.next_request(until)),
            Step::Leave(id) => Event::RequesterGone(id),
            Step::Checked(true) => Event::CheckPassed,
            Step::Checked(false) => Event::CheckFailed,
            Step::Term => Event::Stop(Signal::TERM),
            Step::Int => Event::Stop(Signal::INT),
            Step::Exit(pid) => self.world.end_of(pid, 256),
            Step::Says(generation, word) => Event::Notified(generation, word),
            Step::Moment => {
                next.now += Duration::from_millis(1);
                Event::Tick
            }
            Step::Timer | Step::SpawnFails(_) | Step::SpawnReuses(_) => {
                next.now = next.now.max(next.machine.deadline().unwrap_or_default());
                if let Step::SpawnFails(why) = step {
                    failure = Some(why);
                }
                if let Step::SpawnReuses(pid) = step {
                    reused = Some(pid);
                }
                Event::Tick
            }
        };
        next.feed(event, failure, reused);
        next
    }

    fn feed(&mut self, event: Event, failure: Option<SpawnFailure>, reused: Option<Pid>) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.world.before(&event, self.now);
            let rules = self.machine.rules.clone();
            for action in self.machine.handle(event, self.now) {
                let Some(answer) = self.world.watch(action, failure, &rules, self.now) else {
                    continue;
                };
                match reused.filter(|pid| self.world.workers.contains_key(pid)) {
                    Some(pid) => events.extend([Event::Spawned(pid), Event::AdoptedExited(pid)]),
                    None => events.push(answer),
                }
            }
        }
        self.world.check(&self.machine);
    }

    /// An upgrade at this moment: put away and taken up again, it is the same machine.
    fn survives_an_upgrade(&self) -> bool {
        let saved = serde_json::to_vec(&self.machine.save()).unwrap();
        let saved = serde_json::from_slice(&saved).unwrap();
        Machine::resume(self.machine.rules.clone(), saved) == self.machine
    }
}

fn model_check(name: &str, rules: Rules, depth: usize) -> usize {
    explore_from(name, rules, 0, depth)
}

/// With so many requests among the events.
fn explore_from(name: &str, rules: Rules, requests: u64, depth: usize) -> usize {
    let first = State {
        machine: Machine::new(rules),
        now: Time::ZERO,
        world: Invariants::with_requests(requests),
    };
    explore(name, first, depth)
}

/// With two workers of a supervisor that was killed.
fn explore_takeover(name: &str, rules: Rules, requests: u64, depth: usize) -> usize {
    let workers = [(3, 93), (5, 95)];
    let last = 6;
    let adopted = workers.map(|(generation, pid)| (generation, pid, Time::ZERO));
    let first = State {
        machine: Machine::new(rules).taking_over(adopted, last),
        now: Time::ZERO,
        world: Invariants::with_requests(requests).adopted(&workers, last),
    };
    explore(name, first, depth)
}

fn explore(name: &str, first: State, depth: usize) -> usize {
    let mut seen = HashSet::from([first.clone()]);
    let mut frontier = vec![first];
    for _ in 0..depth {
        let mut next = Vec::new();
        for state in frontier {
            for step in state.steps() {
                let state = state.take(step);
                if seen.insert(state.clone()) && state.world.exit.is_none() {
                    assert!(state.survives_an_upgrade(), "{state:?}");
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
        check: None,
        stop_timeout: None,
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: Duration::ZERO,
        },
    }
}

#[test]
fn plain() {
    assert!(model_check("plain", rules(), DEPTH) > 10_000);
}

#[test]
fn with_a_delay_before_the_old_are_killed() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: Duration::from_secs(3),
    };
    assert!(
        model_check(
            "delay",
            Rules {
                live_settings,
                ..rules()
            },
            DEPTH
        ) > 10_000
    );
}

#[test]
fn with_a_limit_of_attempts() {
    let limits = Rules {
        start_attempts: 2,
        first_start_attempts: 1,
        ..rules()
    };
    assert!(model_check("attempts", limits, DEPTH) > 10_000);
}

/// What workers say multiplies the orders: fewer events in a row make as many states.
const DEPTH_WITH_WORDS: usize = 8;

#[test]
fn ready_by_word_or_by_living() {
    let auto = Rules {
        readiness: Readiness::Auto,
        ..rules()
    };
    assert!(model_check("auto", auto, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn ready_by_word_alone() {
    let notify = Rules {
        readiness: Readiness::Notify,
        start_attempts: 2,
        stop_timeout: Some(Duration::from_secs(2)),
        ..rules()
    };
    assert!(model_check("notify", notify, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn ready_by_word_with_a_delay_before_the_old_are_killed() {
    let notify = Rules {
        readiness: Readiness::Notify,
        live_settings: LiveSettings {
            auto_restart: Some(Duration::from_secs(9)),
            kill_old_delay: Duration::from_secs(3),
        },
        ..rules()
    };
    assert!(model_check("notify, delay", notify, DEPTH_WITH_WORDS) > 10_000);
}

#[test]
fn with_a_watchdog() {
    let watched = Rules {
        worker_watchdog: Some(Duration::from_secs(4)),
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: Duration::from_secs(6),
        },
        ..rules()
    };
    assert!(model_check("watchdog", watched, DEPTH_WITH_WORDS) > 10_000);
}

/// Each of two requests multiplies the orders, too.
const DEPTH_WITH_REQUESTS: usize = 8;

#[test]
fn with_requests() {
    let limits = Rules {
        start_attempts: 2,
        first_start_attempts: 1,
        ..rules()
    };
    assert!(explore_from("requests", limits, 2, DEPTH_WITH_REQUESTS) > 10_000);
}

#[test]
fn with_requests_and_a_delay_before_the_old_are_killed() {
    let delayed = Rules {
        readiness: Readiness::Notify,
        start_attempts: 1,
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: Duration::from_secs(3),
        },
        ..rules()
    };
    assert!(explore_from("requests, delay", delayed, 2, DEPTH_WITH_REQUESTS) > 10_000);
}

#[test]
fn with_a_check_before_each_reload() {
    let checked = Rules {
        check: Some(Duration::from_secs(4)),
        interval: Duration::ZERO,
        start_attempts: 2,
        live_settings: LiveSettings {
            auto_restart: Some(Duration::from_secs(9)),
            kill_old_delay: Duration::ZERO,
        },
        ..rules()
    };
    assert!(explore_from("requests, check", checked, 2, DEPTH_WITH_REQUESTS) > 10_000);
}

#[test]
fn with_everything() {
    let live_settings = LiveSettings {
        auto_restart: Some(Duration::from_secs(9)),
        kill_old_delay: Duration::from_secs(3),
    };
    let everything = Rules {
        interval: Duration::ZERO,
        start_attempts: 2,
        stop_timeout: Some(Duration::from_secs(2)),
        live_settings,
        ..rules()
    };
    assert!(model_check("everything", everything, DEPTH) > 10_000);
}

/// The adopted workers multiply the orders, too.
const DEPTH_OF_TAKEOVER: usize = 7;

#[test]
fn takeover() {
    let limits = Rules {
        start_attempts: 2,
        first_start_attempts: 2,
        stop_timeout: Some(Duration::from_secs(2)),
        ..rules()
    };
    assert!(explore_takeover("takeover", limits, 1, DEPTH_OF_TAKEOVER) > 10_000);
}

#[test]
fn takeover_by_word_with_a_delay_and_a_watchdog() {
    let notify = Rules {
        readiness: Readiness::Notify,
        first_start_attempts: 1,
        worker_watchdog: Some(Duration::from_secs(4)),
        live_settings: LiveSettings {
            auto_restart: Some(Duration::from_secs(9)),
            kill_old_delay: Duration::from_secs(3),
        },
        ..rules()
    };
    let states = explore_takeover("takeover, notify", notify, 0, DEPTH_OF_TAKEOVER);
    assert!(states > 10_000);
}
