//! Whoever looks at the machine from outside. It knows nothing of its insides: it sees events go in
//! and actions come out, as the world does, and complains about what must never happen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::*;
use crate::types::Signal;

/// What a worker that never served, or is stuck, has to leave.
const GRACE: Duration = Duration::from_secs(10);

/// What somebody outside knows of the workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Invariants {
    pub(super) workers: BTreeMap<Pid, Seen>,
    last_generation: Generation,
    last_attempt: Time,
    /// An attempt has failed: the next one of the same start may be made from then on.
    retry_from: Option<Time>,
    /// The last start, or what would have been one, has come to its end.
    restart_base: Time,
    newest_ready: Option<Pid>,
    /// How many requests may still be made.
    requests_left: u64,
    asked: BTreeMap<RequestId, Asked>,
    /// A check is running.
    pub(super) checking: bool,
    /// A HUP has come in and no start has begun since.
    hup_unanswered: bool,
    /// A generation that was started here has been ready.
    own_ready: bool,
    /// The workers have been told to leave for good.
    stopping: bool,
    stop_asked: bool,
    pub(super) exit: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) generation: Generation,
    /// It has said READY=1.
    pub(super) said: bool,
    pub(super) ready: bool,
    pub(super) signalled: bool,
    /// And asked to leave by that.
    leaving: bool,
    /// It has been too late to become ready.
    given_up: bool,
    /// It does not react any more, and is being ended for that.
    stuck: bool,
    /// It is of a supervisor that was killed.
    pub(super) adopted: bool,
    born: Time,
    /// When it last gave a sign of life, if it has to.
    pinged: Time,
    /// SIGKILL may come then; none: it may not.
    kill_from: Option<Time>,
}

/// A request that has not had its last answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    until: Until,
    /// The last generation when it was made.
    after: Generation,
    /// A check, or an attempt, has begun since.
    begun: bool,
    replaced: Option<Generation>,
}

impl Seen {
    fn born(generation: Generation, now: Time) -> Seen {
        Seen {
            generation,
            said: false,
            ready: false,
            signalled: false,
            leaving: false,
            given_up: false,
            stuck: false,
            adopted: false,
            born: now,
            pinged: now,
            kill_from: None,
        }
    }

    /// It serves on without a supervisor when that one gives up.
    fn is_left_behind(&self) -> bool {
        self.adopted && self.ready && !self.leaving
    }
}

impl Invariants {
    /// Workers of a supervisor that was killed: generations, and processes.
    pub(super) fn adopted(mut self, workers: &[(Generation, Pid)], last: Generation) -> Invariants {
        for (generation, pid) in workers {
            let seen = Seen {
                ready: true,
                adopted: true,
                ..Seen::born(*generation, Time::ZERO)
            };
            self.workers.insert(*pid, seen);
            self.newest_ready = Some(*pid);
        }
        self.last_generation = last;
        self
    }

    pub(super) fn with_requests(requests_left: u64) -> Invariants {
        Invariants {
            requests_left,
            ..Invariants::default()
        }
    }

    pub(super) fn may_request(&self) -> bool {
        self.requests_left > 0
    }

    /// Whoever wanted a new generation has been told, or has one.
    pub(super) fn owes_nothing(&self) -> bool {
        self.asked.is_empty() && !self.hup_unanswered
    }

    pub(super) fn next_request(&self, until: Until) -> Request {
        let id = self.requests_left;
        Request { id, until }
    }

    /// How the end of this worker is heard of.
    pub(super) fn end_of(&self, pid: Pid, status: i32) -> Event {
        match self.workers.get(&pid) {
            Some(worker) if worker.adopted => Event::AdoptedExited(pid),
            _ => Event::Exited(pid, status),
        }
    }

    /// Those who wait for an answer.
    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.asked.keys().copied()
    }

    fn begins(&mut self) {
        self.hup_unanswered = false;
        self.asked.values_mut().for_each(|asked| asked.begun = true);
    }

    /// Somebody who has served, before this generation.
    fn before_generation(&self, generation: Generation) -> impl Iterator<Item = &Seen> {
        let served = |w: &&Seen| w.ready || (w.signalled && !w.given_up);
        let older = move |w: &&Seen| w.generation < generation;
        self.workers.values().filter(served).filter(older)
    }

    fn answered(&mut self, id: RequestId, answer: Answer) {
        let asked = self.asked.remove(&id).expect("nobody is answered twice");
        match answer {
            Answer::Replaced(generation) => {
                assert_eq!(asked.replaced, None);
                assert!(generation > asked.after, "by what began after it was asked");
                let left = self.before_generation(generation).find(|w| !w.signalled);
                assert_eq!(left, None, "the old ones are leaving");
                if asked.until == Until::Drained {
                    let replaced = Some(generation);
                    self.asked.insert(id, Asked { replaced, ..asked });
                }
            }
            Answer::Drained(generation) => {
                assert_eq!(asked.until, Until::Drained);
                assert_eq!(asked.replaced, Some(generation));
                assert_eq!(self.before_generation(generation).count(), 0);
            }
            Answer::Failed { kept } => {
                assert!(asked.begun, "something was tried for it");
                assert_eq!(asked.replaced, None);
                let newest = self.newest_ready.map(|pid| self.workers[&pid].generation);
                assert_eq!(kept, newest);
            }
            Answer::Stopped => {}
        }
    }

    pub(super) fn before(&mut self, event: &Event, now: Time) {
        match event {
            Event::Hup => self.hup_unanswered = true,
            Event::ReloadRequested(Request { id, until }) => {
                self.requests_left -= 1;
                let asked = Asked {
                    until: *until,
                    after: self.last_generation,
                    begun: false,
                    replaced: None,
                };
                self.asked.insert(*id, asked);
            }
            Event::RequesterGone(id) => drop(self.asked.remove(id)),
            Event::CheckPassed | Event::CheckFailed => self.checking = false,
            Event::Stop(_) => self.stop_asked = true,
            Event::Exited(pid, _) | Event::AdoptedExited(pid) => {
                self.workers.remove(pid).expect("a worker that lived");
                // It died by itself, or was told to: no promise holds for it any more.
                if self.newest_ready == Some(*pid) {
                    let left = self.workers.iter().filter(|(_, w)| w.ready && !w.leaving);
                    self.newest_ready = left.max_by_key(|(_, w)| w.generation).map(|(p, _)| *p);
                }
            }
            Event::Spawned(pid) => {
                let seen = Seen::born(self.last_generation, now);
                self.workers.insert(*pid, seen);
            }
            Event::Notified(generation, word) => {
                let mut workers = self.workers.values_mut();
                let speaker = workers.find(|w| w.generation == *generation);
                let speaker = speaker.expect("a worker that lives");
                match word {
                    Notification::Ready => speaker.said = true,
                    Notification::Ping if speaker.ready && !speaker.signalled => {
                        speaker.pinged = now
                    }
                    Notification::Extend(by) if speaker.leaving && !speaker.given_up => {
                        speaker.kill_from = speaker.kill_from.map(|at| at.max(now + *by));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// One action; answers a spawn.
    pub(super) fn watch(
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
                assert!(!self.checking, "what is being checked is not started");
                assert!(generation > self.last_generation, "no number is used twice");
                let starting = self.workers.values().filter(|w| !w.ready && !w.signalled);
                assert_eq!(starting.count(), 0, "at most one generation is starting");
                let rested = self.retry_from.take().is_none_or(|from| from <= now);
                assert!(rested, "after a failure it takes a breath");
                self.last_generation = generation;
                self.last_attempt = now;
                self.begins();
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
                let may_be_told = !worker.adopted || self.own_ready || self.stop_asked;
                assert!(may_be_told, "{pid}: adopted, and told to leave for nothing");
                if signal == Signal::KILL {
                    let from = worker.kill_from.take();
                    assert!(from.is_some_and(|from| from <= now), "{pid}: had its time");
                } else if !worker.leaving && !worker.given_up {
                    let timeout = rules.stop_timeout;
                    let from = worker.kill_from.or(timeout.map(|after| now + after));
                    worker.kill_from = from;
                }
                worker.signalled = true;
                worker.leaving |= !matches!(signal, Signal::ABRT | Signal::KILL);
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
                worker.pinged = now;
                self.restart_base = now;
                self.newest_ready = Some(pid);
                self.own_ready = true;
            }
            Action::Report(Report::Stuck { pid, silent, .. }) => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                assert!(worker.ready && !worker.signalled, "who serves is watched");
                assert!(
                    rules.worker_watchdog.is_some(),
                    "and only if that is wanted"
                );
                let quiet = silent.is_none_or(|silent| worker.pinged + silent <= now);
                assert!(quiet, "{pid} has been heard of");
                worker.stuck = true;
                worker.kill_from = Some(now + rules.stop_timeout.unwrap_or(GRACE));
            }
            Action::Report(Report::NeverReady { pid, .. }) => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                assert!(rules.readiness == Readiness::Notify && !worker.said);
                assert!(worker.born + rules.start_timeout <= now, "it had its time");
                worker.given_up = true;
                worker.kill_from = Some(now + rules.stop_timeout.unwrap_or(GRACE));
                self.retry_from = Some(self.last_attempt + SHORTEST_RETRY);
            }
            Action::Report(Report::FailedToStart { .. } | Report::NotSpawned { .. }) => {
                self.retry_from = Some(self.last_attempt + SHORTEST_RETRY);
            }
            Action::Report(Report::GaveUp { .. }) => {
                self.retry_from = None;
                self.restart_base = now;
            }
            Action::Report(Report::CheckFailed { .. }) => self.restart_base = now,
            Action::Report(Report::AutoRestart { interval, .. }) => {
                assert!(self.restart_base + interval <= now, "not again so soon");
            }
            Action::Check(generation) => {
                assert_eq!(generation, self.last_generation + 1);
                assert!(!self.stop_asked && !self.checking);
                let mut serving = self.workers.values().filter(|w| w.ready && !w.leaving);
                assert!(serving.next().is_some(), "somebody serves meanwhile");
                self.checking = true;
                self.begins();
            }
            Action::EndCheck => assert!(std::mem::take(&mut self.checking)),
            Action::Answer(request, answer) => self.answered(request.id, answer),
            Action::Exit(code) => {
                assert!(self.asked.is_empty(), "nobody is left without an answer");
                assert!(!self.checking, "no check is left behind");
                let left = self.workers.values().filter(|w| !w.is_left_behind());
                assert_eq!(left.count(), 0, "only adopted workers are left behind");
                if !self.workers.is_empty() {
                    assert!(
                        code == 1 && !self.stop_asked,
                        "a stop leaves no worker behind"
                    );
                    assert!(
                        !self.own_ready,
                        "adopted workers are left only by a first start"
                    );
                }
                assert!(
                    code == 1 || self.stop_asked,
                    "status 0 is for a stop that was asked for"
                );
                self.exit = Some(code);
            }
            Action::Report(Report::Stopping { .. } | Report::LeftBehind { .. }) => {
                self.stopping = true;
            }
            Action::Report(_) | Action::PublishStatus => {}
        }
        None
    }

    pub(super) fn check(&self, machine: &Machine) {
        let known: Vec<_> = machine.workers().map(|(g, pid, _)| (g, pid)).collect();
        let all = self.in_order(|_| true);
        assert_eq!(known, all, "it knows those who live, and nobody else");
        let looks_by = |at: Time| machine.deadline().is_some_and(|due| due <= at);
        for (pid, worker) in &self.workers {
            let kill = worker.kill_from.is_none_or(looks_by);
            assert!(kill, "{pid}: its time will be up");
            let watchdog = machine.rules.worker_watchdog;
            let pings = worker.ready && !worker.signalled && !worker.adopted;
            let watched = watchdog.filter(|_| pings);
            let heard = watched.is_none_or(|every| looks_by(worker.pinged + every));
            assert!(heard, "{pid}: somebody waits for its ping");
        }
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
                !self.workers[&pid].leaving,
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
        for (id, asked) in &self.asked {
            let draining = asked
                .replaced
                .is_some_and(|by| self.before_generation(by).next().is_some());
            let due = machine.deadline().is_some();
            assert!(draining || due, "{id} will be answered");
        }
        let speechless = machine.rules.readiness == Readiness::Alive;
        for (pid, worker) in &self.workers {
            let heard = worker.ready || worker.signalled || !worker.said;
            assert!(heard || speechless, "{pid} has said READY to the wind");
        }
        let serving = self.newest_ready.is_some();
        let starting = self.workers.values().any(|w| !w.ready && !w.signalled);
        let giving_up = !self.workers.is_empty() && self.workers.values().all(|w| w.signalled);
        assert!(
            serving || starting || machine.deadline().is_some() || giving_up,
            "somebody serves, or will"
        );
        let ending = self.stopping || (giving_up && !serving);
        if self.hup_unanswered && !ending {
            assert!(machine.deadline().is_some(), "a HUP is not forgotten");
        }
        let live: Vec<_> = machine.live().collect();
        assert_eq!(
            live,
            self.in_order(|w| w.ready || (w.signalled && !w.given_up)),
            "the status file lists those who are or were ready"
        );
    }

    /// In the order of their generations: a pid may have been another's before.
    fn in_order(&self, which: impl Fn(&Seen) -> bool) -> Vec<(Generation, Pid)> {
        let workers = self.workers.iter().filter(|(_, w)| which(w));
        let mut workers: Vec<_> = workers.map(|(pid, w)| (w.generation, *pid)).collect();
        workers.sort_unstable();
        workers
    }
}
