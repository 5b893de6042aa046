//! A machine, and a world around it to which something happens step by step.

use std::time::Duration;

use crate::machine::model_check::seen::SeenWorker;
use crate::machine::model_check::world::World;
use crate::machine::*;
use crate::types::Signal;

/// The system can hold no more workers than this.
const MOST_WORKERS: usize = 30;

/// All that is due at one moment is done after this many ticks.
const TICKS: usize = 10;

/// If nothing fails any more, a worker serves and all requests are answered after this time: the
/// longest pause of a crash loop, a check, a start, the delays, and what workers have asked for.
const RECOVERY: Duration = Duration::from_secs(90);

/// What may happen next. A `u8` chooses among the workers, the newest first, or among the requests. A
/// step that is not possible does nothing, so every part of a sequence is a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Hup,
    SocketReplaced,
    /// The supervisor does not run for so many milliseconds.
    Absence(u64),
    Request(Until),
    /// A client disconnects before it got its answer.
    Disconnect(u8),
    CheckEnds {
        passed: bool,
    },
    Stop(Signal),
    /// Time passes until the next deadline.
    Deadline,
    /// This many milliseconds pass, with a tick at each deadline.
    Pass(u64),
    /// The next deadline passes, and this many milliseconds more, without a tick.
    Oversleep(u64),
    /// A worker dies that was told to leave.
    SignalledWorkerDies(u8),
    /// Any worker dies.
    WorkerDies(u8),
    Notify(u8, Notification),
    NextSpawnFails(SpawnFailure),
    SettingsChanged(LiveSettings),
    /// Events of what is not there: a foreign process, a dead generation, a check that is over.
    StaleEvents,
    /// Another release takes over.
    Upgrade,
    /// If nothing failed from here on, a worker would serve soon, and all requests be answered.
    Recover,
}

/// Lets the steps happen, and checks the invariants after each.
pub(super) fn simulate(rules: &Rules, adopted: u64, steps: &[Step]) {
    let mut simulation = Simulation::new(rules.clone(), adopted, Duration::from_secs(1000));
    simulation.deadline();
    for step in steps {
        simulation.take(*step);
    }
    simulation.recover();
}

/// A machine in its world. After its exit, another one is started.
#[derive(Clone)]
struct Simulation {
    machine: Machine,
    rules: Rules,
    now: Time,
    world: World,
    failure: Option<SpawnFailure>,
}

impl Simulation {
    /// Starts a supervisor with this many workers of another one that was killed.
    fn new(rules: Rules, adopted: u64, now: Time) -> Simulation {
        let workers: Vec<_> = (1..=adopted).map(|n| (n, 100 + n as Pid)).collect();
        let since = workers
            .iter()
            .map(|(generation, pid)| (*generation, *pid, now));
        Simulation {
            machine: Machine::new(rules.clone()).taking_over(since, adopted),
            rules,
            now,
            world: World::with_requests(RequestId::MAX).adopt(&workers, adopted),
            failure: None,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hup => self.feed(Event::Hup),
            Step::Absence(millis) => {
                self.now += Duration::from_millis(millis);
                self.feed(Event::Resumed);
            }
            Step::SocketReplaced => self.feed(Event::SocketReplaced),
            Step::Request(until) => {
                self.feed(Event::ReloadRequested(self.world.next_request(until)))
            }
            Step::Disconnect(place) => {
                let id = self.world.open_requests().nth(usize::from(place));
                if let Some(id) = id {
                    self.feed(Event::RequesterGone(id));
                }
            }
            Step::CheckEnds { passed } if self.world.checking => self.feed(match passed {
                true => Event::CheckPassed,
                false => Event::CheckFailed,
            }),
            Step::CheckEnds { .. } => {}
            Step::Stop(signal) => self.feed(Event::Stop(signal)),
            Step::Deadline => self.deadline(),
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Step::Oversleep(millis) => {
                let at = self.machine.deadline().unwrap_or_default();
                self.now = self.now.max(at) + Duration::from_millis(millis);
            }
            Step::SignalledWorkerDies(place) => {
                if let Some(pid) = self.choose(place, |w| w.signalled) {
                    self.feed(self.world.death_of(pid, 0));
                }
            }
            Step::WorkerDies(place) => {
                if let Some(pid) = self.choose(place, |_| true) {
                    self.feed(self.world.death_of(pid, 256));
                }
            }
            Step::Notify(place, notification) => {
                if let Some(pid) = self.choose(place, |_| true) {
                    let generation = self.world.workers[&pid].generation;
                    self.feed(Event::Notified(generation, notification));
                }
            }
            Step::NextSpawnFails(why) => self.failure = Some(why),
            Step::SettingsChanged(live_settings) => {
                self.feed(Event::SettingsChanged(live_settings))
            }
            Step::StaleEvents => self.stale_events(),
            Step::Upgrade => self.upgrade(),
            Step::Recover => self.clone().recover(),
        }
        if self.world.exit.is_some() {
            *self = Simulation::new(self.rules.clone(), 0, self.now);
        }
    }

    /// Hands an event to the machine, and those that follow from its actions.
    fn feed(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            self.world.before(&event, self.now);
            for action in self.machine.handle(event, self.now) {
                let failure = match &action {
                    Action::Spawn(_) if self.world.workers.len() >= MOST_WORKERS => {
                        Some(SpawnFailure::Transient)
                    }
                    Action::Spawn(_) => self.failure.take(),
                    _ => None,
                };
                let rules = &self.machine.rules;
                next = match self.world.watch(action, failure, rules, self.now) {
                    Some(Event::Spawned(_)) => Some(Event::Spawned(self.free_pid())),
                    Some(failed) => Some(failed),
                    None => next,
                };
            }
        }
        self.world.check(&self.machine);
    }

    /// The lowest free process id. That of a dead worker is used again at once.
    fn free_pid(&self) -> Pid {
        let is_free = |pid: &Pid| !self.world.workers.contains_key(pid);
        (101..).find(is_free).unwrap_or_default()
    }

    /// Ticks until all that is due is done, which may not take for ever.
    fn tick(&mut self) {
        for _ in 0..TICKS {
            self.feed(Event::Tick);
            if self.machine.deadline().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("still due after a tick: {:?}", self.machine.deadline());
    }

    fn deadline(&mut self) {
        if let Some(at) = self.machine.deadline() {
            self.now = self.now.max(at);
        }
        self.tick();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.machine.deadline().is_some_and(|at| at <= end) {
            self.deadline();
        }
        self.now = end;
        self.tick();
    }

    /// The worker at this place among those for which `which` is true, the newest first.
    fn choose(&self, place: u8, which: impl Fn(&SeenWorker) -> bool) -> Option<Pid> {
        let workers = self.world.workers.iter().filter(|(_, w)| which(w));
        let mut workers: Vec<_> = workers.map(|(pid, w)| (w.generation, *pid)).collect();
        workers.sort_unstable_by(|a, b| b.cmp(a));
        let place = usize::from(place) % workers.len().max(1);
        workers.get(place).map(|(_, pid)| *pid)
    }

    /// Saves the machine, and resumes it as the next release does.
    fn upgrade(&mut self) {
        let saved = serde_json::to_vec(&self.machine.save()).unwrap();
        let saved = serde_json::from_slice(&saved).unwrap();
        self.machine = Machine::resume(self.machine.rules.clone(), saved);
    }

    /// Stale events change nothing.
    fn stale_events(&mut self) {
        let mut stale = vec![Event::Exited(1, 0), Event::Spawned(1)];
        stale.extend(
            [Notification::Ready, Notification::Stuck]
                .map(|notification| Event::Notified(Generation::MAX, notification)),
        );
        if !self.world.checking {
            stale.extend([Event::CheckPassed, Event::CheckFailed]);
        }
        let before = self.machine.clone();
        for event in stale {
            let actions = self.machine.handle(event.clone(), self.now);
            assert_eq!((actions, &self.machine), (vec![], &before), "{event:?}");
        }
    }

    /// Nothing fails, and nothing new is wanted: workers that were told to leave die, and new workers
    /// become ready.
    fn recover(mut self) {
        self.failure = None;
        self.feed(Event::SettingsChanged(LiveSettings {
            auto_restart: None,
            ..self.machine.rules.live_settings
        }));
        let end = self.now + RECOVERY;
        while self.world.exit.is_none() && !self.has_recovered() {
            let starting = self.choose(0, |w| w.is_starting() && !w.said_ready);
            if let Some(pid) = self.choose(0, |w| w.signalled) {
                self.feed(self.world.death_of(pid, 0));
            } else if self.world.checking {
                self.feed(Event::CheckPassed);
            } else if let Some(pid) = starting {
                let generation = self.world.workers[&pid].generation;
                self.feed(Event::Notified(generation, Notification::Ready));
            } else {
                self.ping();
                let due = self.machine.deadline();
                let due = due.expect("a deadline, as nothing else is awaited");
                // A worker pings before its time is up, not when.
                let next_ping = self.now + Duration::from_secs(1);
                self.now = self.now.max(due.min(next_ping));
                self.tick();
            }
            assert!(self.now <= end, "the recovery takes too long");
        }
    }

    fn ping(&mut self) {
        let ready = self.world.workers.values().filter(|w| w.ready);
        let ready: Vec<Generation> = ready.map(|w| w.generation).collect();
        for generation in ready {
            self.feed(Event::Notified(generation, Notification::Ping));
        }
    }

    /// Whether one worker serves and no other one is alive. Several adopted workers may serve on if a
    /// replacement for the first own generation was given up.
    fn has_recovered(&self) -> bool {
        let serving = self.machine.supervisor_state() == SupervisorState::Serving;
        let mut workers = self.world.workers.values();
        let settled = workers.len() == 1 || workers.all(|w| w.adopted && w.is_serving());
        serving && self.world.all_answered() && settled
    }
}
