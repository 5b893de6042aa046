//! Model checking: walks through every order of events, to a fixed depth, under a dozen sets of rules
//! (`rule_sets.rs`). In every state the invariants must hold (`world.rs`, `invariants.rs`). The
//! transitions that were seen on the way become `docs/state-machine.md` (`document.rs`). Random
//! sequences look further ahead (`random/`).

mod document;
mod fingerprint;
mod invariants;
mod observed;
mod random;
mod rule_sets;
mod seen;
mod world;

use std::time::Duration;

use super::*;
use crate::types::Signal;
use fingerprint::{FingerprintSet, fingerprint};
use observed::{Observed, Transition, names};
use world::World;

/// A machine at some moment, and what can be seen of it from outside.
#[derive(Debug, Clone)]
struct Node {
    machine: Machine,
    now: Time,
    world: World,
    /// How often the supervisor may still be absent.
    absences_left: u8,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Hup,
    Request(Until),
    /// A client disconnects before it got its answer.
    Disconnect(RequestId),
    /// The check ends, and has passed or not.
    CheckEnds {
        passed: bool,
    },
    Stop(Signal),
    /// Time passes until the next deadline. If a spawn follows, it succeeds.
    Deadline,
    /// Time passes until the next deadline. If a spawn follows, it fails.
    DeadlineAndSpawnFails(SpawnFailure),
    /// Time passes until the next deadline. If a spawn follows, the new process gets the number of an
    /// adopted worker that has just ended.
    DeadlineAndSpawnReuses(Pid),
    /// A moment passes, and a tick comes early.
    EarlyTick,
    /// The supervisor does not run for a minute.
    Absence,
    Exit(Pid),
    Notify(Generation, Notification),
}

impl Node {
    /// The start of a walk, with this many clients' requests to come.
    fn first(rules: Rules, requests: u64) -> Node {
        // Without one of these no period is long enough to be worth the states.
        let delayed = !rules.live_settings.kill_old_delay.is_zero();
        let notified = rules.readiness == Readiness::Notify;
        let watched = rules.worker_watchdog.is_some() || rules.check.is_some();
        Node {
            absences_left: u8::from(delayed || notified || watched),
            machine: Machine::new(rules),
            now: Time::ZERO,
            world: World::with_requests(requests),
        }
    }

    /// The same, with two workers of a supervisor that was killed.
    fn takeover(rules: Rules, requests: u64) -> Node {
        let workers = [(3, 93), (5, 95)];
        let last = 6;
        let adopted = workers.map(|(generation, pid)| (generation, pid, Time::ZERO));
        let first = Node::first(rules, requests);
        Node {
            machine: first.machine.taking_over(adopted, last),
            world: first.world.adopt(&workers, last),
            ..first
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = vec![
            Choice::Hup,
            Choice::Stop(Signal::TERM),
            Choice::Stop(Signal::INT),
            Choice::EarlyTick,
        ];
        if self.absences_left > 0 && self.machine.deadline().is_some() {
            choices.push(Choice::Absence);
        }
        if self.machine.deadline().is_some() {
            choices.push(Choice::Deadline);
            choices.push(Choice::DeadlineAndSpawnFails(SpawnFailure::Transient));
            choices.push(Choice::DeadlineAndSpawnFails(SpawnFailure::Permanent));
            let adopted = self.world.workers.iter().filter(|(_, w)| w.adopted);
            choices.extend(adopted.map(|(pid, _)| Choice::DeadlineAndSpawnReuses(*pid)));
        }
        choices.extend(self.world.workers.keys().map(|pid| Choice::Exit(*pid)));
        if self.world.may_request() {
            choices.extend([
                Choice::Request(Until::Ready),
                Choice::Request(Until::Drained),
            ]);
        }
        choices.extend(self.world.open_requests().map(Choice::Disconnect));
        if self.world.checking {
            choices.extend([true, false].map(|passed| Choice::CheckEnds { passed }));
        }
        let notifications = notifications(&self.machine.rules);
        let heard = self.world.workers.values().filter(|w| !w.adopted);
        for generation in heard.map(|w| w.generation) {
            choices.extend(notifications.iter().map(|n| Choice::Notify(generation, *n)));
        }
        choices
    }

    /// The node to which this choice leads.
    fn take(&self, choice: Choice, observed: &mut Observed) -> Node {
        let mut next = self.clone();
        let (mut failure, mut reused) = (None, None);
        let event = match choice {
            Choice::Hup => Event::Hup,
            Choice::Request(until) => Event::ReloadRequested(self.world.next_request(until)),
            Choice::Disconnect(id) => Event::RequesterGone(id),
            Choice::CheckEnds { passed: true } => Event::CheckPassed,
            Choice::CheckEnds { passed: false } => Event::CheckFailed,
            Choice::Stop(signal) => Event::Stop(signal),
            Choice::Exit(pid) => self.world.death_of(pid, 256),
            Choice::Notify(generation, notification) => Event::Notified(generation, notification),
            Choice::EarlyTick => {
                next.now += Duration::from_millis(1);
                Event::Tick
            }
            Choice::Absence => {
                next.now += Duration::from_secs(60);
                next.absences_left -= 1;
                Event::Resumed
            }
            Choice::Deadline
            | Choice::DeadlineAndSpawnFails(_)
            | Choice::DeadlineAndSpawnReuses(_) => {
                next.now = next.now.max(next.machine.deadline().unwrap_or_default());
                if let Choice::DeadlineAndSpawnFails(why) = choice {
                    failure = Some(why);
                }
                if let Choice::DeadlineAndSpawnReuses(pid) = choice {
                    reused = Some(pid);
                }
                Event::Tick
            }
        };
        next.feed(event, failure, reused, observed);
        next
    }

    /// Hands an event to the machine, and those that follow from its actions.
    fn feed(
        &mut self,
        event: Event,
        failure: Option<SpawnFailure>,
        reused: Option<Pid>,
        observed: &mut Observed,
    ) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.world.before(&event, self.now);
            for action in observed.handle(&mut self.machine, event, self.now) {
                let rules = &self.machine.rules;
                let Some(answer) = self.world.watch(action, failure, rules, self.now) else {
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

    /// Events that lead to no other state than those that the walk takes.
    fn probe(&self, observed: &mut Observed) {
        let mut on = |event| {
            let mut machine = self.machine.clone();
            let actions = observed.handle(&mut machine, event, self.now);
            (machine, names(&actions))
        };
        let (by_hup, done_on_hup) = on(Event::Hup);
        let (by_socket, done) = on(Event::SocketReplaced);
        assert_eq!(done, done_on_hup, "{self:?}");
        assert_eq!(by_socket.state.phase(), by_hup.state.phase(), "{self:?}");

        let settings = LiveSettings {
            auto_restart: Some(Duration::from_secs(99)),
            kill_old_delay: Duration::ZERO,
        };
        let (settled, done) = on(Event::SettingsChanged(settings));
        assert!(done.is_empty(), "{self:?}");
        assert_eq!(settled.state, self.machine.state);
    }

    /// After the exit the caller hands over no more events. If it did, none would do harm.
    fn probe_ended(&self, observed: &mut Observed) {
        let request = self.world.next_request(Until::Ready);
        let (id, code) = (request.id, 256);
        let answer = vec![Action::Answer(request, Answer::Stopped)];
        for (event, expected) in [
            (Event::Hup, vec![]),
            (Event::SocketReplaced, vec![]),
            (Event::ReloadRequested(request), answer),
            (Event::RequesterGone(id), vec![]),
            (Event::Stop(Signal::TERM), vec![]),
            (Event::Exited(1, code), vec![]),
            (Event::Resumed, vec![]),
            (Event::Tick, vec![]),
        ] {
            let mut machine = self.machine.clone();
            assert_eq!(observed.handle(&mut machine, event, self.now), expected);
            assert_eq!(machine, self.machine);
        }
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(&(&self.machine, self.now, &self.world, self.absences_left))
    }

    /// Whether the machine is the same after it was saved and resumed, as at an upgrade.
    fn survives_an_upgrade(&self) -> bool {
        let saved = serde_json::to_vec(&self.machine.save()).unwrap();
        let saved = serde_json::from_slice(&saved).unwrap();
        Machine::resume(self.machine.rules.clone(), saved) == self.machine
    }
}

/// The notifications that matter under these rules.
fn notifications(rules: &Rules) -> Vec<Notification> {
    let mut notifications = Vec::new();
    if rules.readiness != Readiness::Alive {
        notifications.push(Notification::Ready);
        notifications.push(Notification::Extend(Duration::from_secs(7)));
    }
    if rules.worker_watchdog.is_some() {
        notifications.extend([Notification::Ping, Notification::Stuck]);
    }
    notifications
}

/// Where a walk has been.
struct Walk {
    /// The number of states.
    states: usize,
    observed: Observed,
}

impl Walk {
    /// Walks through all orders of up to `depth` events.
    fn from(first: Node, depth: usize) -> Walk {
        let mut observed = Observed::default();
        let mut seen = FingerprintSet::from_iter([first.fingerprint()]);
        let mut machines = FingerprintSet::default();
        let mut frontier = vec![first];
        for _ in 0..depth {
            let mut next = Vec::new();
            for node in frontier {
                for choice in node.choices() {
                    let node = node.take(choice, &mut observed);
                    if !seen.insert(node.fingerprint()) {
                        continue;
                    }
                    let is_new_to_the_machine = machines.insert(fingerprint(&node.machine));
                    if node.world.exit.is_some() {
                        node.probe_ended(&mut observed);
                        continue;
                    }
                    if is_new_to_the_machine {
                        assert!(node.survives_an_upgrade(), "{node:?}");
                        node.probe(&mut observed);
                    }
                    next.push(node);
                }
            }
            frontier = next;
        }
        Walk {
            states: seen.len(),
            observed,
        }
    }

    fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.observed.transitions()
    }
}
