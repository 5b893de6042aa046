//! What an observer knows who sees the events that go into the machine and the actions that come out,
//! and nothing of its insides. Each action is checked when it comes: whether it may be done at this
//! moment. What must hold between two events is `invariants.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seen::{SeenRequest, SeenWorker};
use crate::machine::*;
use crate::types::Signal;

/// From the signal to SIGKILL for a worker that never served, or is stuck, without a stop time-out.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct World {
    pub(super) workers: BTreeMap<Pid, SeenWorker>,
    last_generation: Generation,
    last_attempt: Time,
    /// The earliest time of the next attempt, if the last one has failed.
    retry_from: Option<Time>,
    /// When the last start succeeded or was given up. Auto-restart counts from here.
    restart_base: Time,
    pub(super) newest_ready: Option<Pid>,
    /// How many requests clients may still make.
    requests_left: u64,
    pub(super) requests: BTreeMap<RequestId, SeenRequest>,
    /// A check is running.
    pub(super) checking: bool,
    /// A HUP has come in, or a socket was replaced, and no start has begun since.
    pub(super) reload_unanswered: bool,
    /// A worker that was not adopted has been ready.
    own_ready: bool,
    /// A stop, or the end after giving up, has begun.
    pub(super) stopping: bool,
    pub(super) stop_requested: bool,
    pub(super) exit: Option<u8>,
}

impl World {
    /// A world in which clients make this many requests at most.
    pub(super) fn with_requests(requests_left: u64) -> World {
        World {
            requests_left,
            ..World::default()
        }
    }

    /// Adds the workers of a supervisor that was killed, whose last attempt was `last_generation`.
    pub(super) fn adopt(mut self, workers: &[(Generation, Pid)], last_generation: u64) -> World {
        for (generation, pid) in workers {
            let seen = SeenWorker {
                ready: true,
                adopted: true,
                ..SeenWorker::born(*generation, Time::ZERO)
            };
            self.workers.insert(*pid, seen);
            self.newest_ready = Some(*pid);
        }
        self.last_generation = last_generation;
        self
    }

    pub(super) fn may_request(&self) -> bool {
        self.requests_left > 0
    }

    pub(super) fn next_request(&self, until: Until) -> Request {
        let id = self.requests_left;
        Request { id, until }
    }

    /// The requests that wait for an answer.
    pub(super) fn open_requests(&self) -> impl Iterator<Item = RequestId> {
        self.requests.keys().copied()
    }

    /// Whether each request has its answer, and each HUP its generation.
    pub(super) fn all_answered(&self) -> bool {
        self.requests.is_empty() && !self.reload_unanswered
    }

    /// The event for the death of this worker.
    pub(super) fn death_of(&self, pid: Pid, status: i32) -> Event {
        match self.workers.get(&pid) {
            Some(worker) if worker.adopted => Event::AdoptedExited(pid),
            _ => Event::Exited(pid, status),
        }
    }

    /// The workers of older generations that are serving, or were.
    pub(super) fn served_before(
        &self,
        generation: Generation,
    ) -> impl Iterator<Item = &SeenWorker> {
        let served = self.workers.values().filter(|w| w.has_served());
        served.filter(move |w| w.generation < generation)
    }

    /// Takes in an event that the machine is about to get.
    pub(super) fn before(&mut self, event: &Event, now: Time) {
        match event {
            Event::Hup | Event::SocketReplaced => self.reload_unanswered = true,
            Event::ReloadRequested(Request { id, until }) => {
                self.requests_left -= 1;
                let request = SeenRequest {
                    until: *until,
                    after: self.last_generation,
                    begun: false,
                    replaced: None,
                };
                self.requests.insert(*id, request);
            }
            Event::RequesterGone(id) => drop(self.requests.remove(id)),
            Event::CheckPassed | Event::CheckFailed => self.checking = false,
            Event::Stop(_) => {
                let again = std::mem::replace(&mut self.stop_requested, true);
                self.workers.values_mut().for_each(|w| w.hurry = again);
            }
            Event::Resumed => self.periods_begin_anew(now),
            Event::Exited(pid, _) | Event::AdoptedExited(pid) => self.died(*pid),
            Event::Spawned(pid) => {
                let worker = SeenWorker::born(self.last_generation, now);
                self.workers.insert(*pid, worker);
            }
            Event::Notified(generation, notification) => {
                self.notified(*generation, *notification, now);
            }
            Event::SpawnFailed(_) | Event::SettingsChanged(_) | Event::Tick => {}
        }
    }

    /// No worker has run while the supervisor did not.
    fn periods_begin_anew(&mut self, now: Time) {
        for worker in self.workers.values_mut() {
            worker.pinged = now;
            let anew = now + worker.kill_after;
            worker.kill_from = worker.kill_from.map(|at| at.max(anew));
        }
    }

    fn died(&mut self, pid: Pid) {
        self.workers.remove(&pid).expect("a worker that lived");
        if self.newest_ready == Some(pid) {
            let serving = self.workers.iter().filter(|(_, w)| w.is_serving());
            let newest = serving.max_by_key(|(_, w)| w.generation);
            self.newest_ready = newest.map(|(pid, _)| *pid);
        }
    }

    fn notified(&mut self, from: Generation, notification: Notification, now: Time) {
        let mut workers = self.workers.values_mut();
        let worker = workers.find(|w| w.generation == from);
        let worker = worker.expect("a worker that lives");
        match notification {
            Notification::Ready => worker.said_ready = true,
            Notification::Ping if worker.ready && !worker.signalled => worker.pinged = now,
            Notification::Extend(by) if worker.told_to_leave && !worker.given_up => {
                if let Some(at) = worker.kill_from {
                    worker.kill_after += (now + by).saturating_sub(at);
                    worker.kill_from = Some(at.max(now + by));
                }
            }
            Notification::Ping | Notification::Extend(_) | Notification::Stuck => {}
        }
    }

    /// Takes in an action, and checks that it may be done. Returns the answer to a spawn.
    pub(super) fn watch(
        &mut self,
        action: Action,
        failure: Option<SpawnFailure>,
        rules: &Rules,
        now: Time,
    ) -> Option<Event> {
        assert_eq!(self.exit, None, "an action after the exit");
        match action {
            Action::Spawn(generation) => {
                self.spawn(generation, now);
                return Some(match failure {
                    Some(why) => Event::SpawnFailed(why),
                    None => Event::Spawned(100 + generation as Pid),
                });
            }
            Action::Check(generation) => self.check_starts(generation),
            Action::EndCheck => {
                assert!(self.checking, "no check runs that could be ended");
                self.checking = false;
            }
            Action::Answer(request, answer) => self.answer(request.id, answer),
            Action::Signal(pid, signal) => self.signal(pid, signal, rules, now),
            Action::Kill(pid) => self.signal(pid, Signal::KILL, rules, now),
            Action::Abort(pid) => self.signal(pid, Signal::ABRT, rules, now),
            Action::PublishStatus => {}
            Action::Report(report) => self.report(&report, rules, now),
            Action::Exit(code) => self.exit(code),
        }
        None
    }

    /// A check or an attempt begins, for all that is wanted so far.
    fn begin(&mut self) {
        self.reload_unanswered = false;
        for request in self.requests.values_mut() {
            request.begun = true;
        }
    }

    fn spawn(&mut self, generation: Generation, now: Time) {
        assert!(!self.stop_requested, "a worker is started after a stop");
        assert!(!self.checking, "a worker is started during the check");
        assert!(generation > self.last_generation, "a number is used twice");
        let starting = self.workers.values().filter(|w| w.is_starting());
        assert_eq!(starting.count(), 0, "two generations are starting");
        let too_soon = self.retry_from.take().is_some_and(|from| now < from);
        assert!(!too_soon, "an attempt follows a failed one too soon");
        self.last_generation = generation;
        self.last_attempt = now;
        self.begin();
    }

    fn check_starts(&mut self, generation: Generation) {
        assert_eq!(generation, self.last_generation + 1);
        assert!(!self.stop_requested, "a check is started after a stop");
        assert!(!self.checking, "two checks run");
        let serving = self.workers.values().filter(|w| w.is_serving());
        assert_ne!(serving.count(), 0, "a check while no worker serves");
        self.checking = true;
        self.begin();
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        let request = self.requests.remove(&id);
        let request = request.expect("no answer after the last one");
        match answer {
            Answer::Replaced(generation) => {
                assert_eq!(request.replaced, None, "replaced twice");
                let is_later = generation > request.after;
                assert!(
                    is_later,
                    "answered by a start that began before the request"
                );
                let mut old = self.served_before(generation);
                let left = old.find(|w| !w.signalled);
                assert_eq!(left, None, "an old worker was not told to leave");
                drop(old);
                if request.until == Until::Drained {
                    let replaced = Some(generation);
                    let request = SeenRequest {
                        replaced,
                        ..request
                    };
                    self.requests.insert(id, request);
                }
            }
            Answer::Drained(generation) => {
                assert_eq!(request.until, Until::Drained);
                assert_eq!(request.replaced, Some(generation));
                let left = self.served_before(generation).count();
                assert_eq!(left, 0, "an old worker is still alive");
            }
            Answer::Failed { kept } => {
                assert!(request.begun, "failed without an attempt or a check");
                assert_eq!(request.replaced, None, "failed after it was replaced");
                let newest = self.newest_ready.map(|pid| self.workers[&pid].generation);
                assert_eq!(kept, newest);
            }
            Answer::Stopped => {}
        }
    }

    fn signal(&mut self, pid: Pid, signal: Signal, rules: &Rules, now: Time) {
        let newest = self.newest_ready.and_then(|pid| self.workers.get(&pid));
        let takeover = signal == rules.signal_on_hup && !self.stop_requested;
        assert!(
            !(takeover && newest.is_some_and(|w| w.stuck)),
            "a stuck worker takes over"
        );
        let worker = self.workers.get_mut(&pid);
        let worker = worker.unwrap_or_else(|| panic!("{pid} is signalled, but is dead"));
        let may_be_told = !worker.adopted || self.own_ready || self.stop_requested;
        assert!(may_be_told, "{pid}: adopted, and told to leave too soon");
        if signal == Signal::KILL {
            let from = worker.kill_from.take();
            assert!(from.is_some_and(|from| from <= now), "{pid}: SIGKILL");
        } else if !worker.told_to_leave && !worker.given_up {
            if let (None, Some(time)) = (worker.kill_from, rules.stop_timeout) {
                worker.kill_after(time, now);
            }
        }
        worker.signalled = true;
        if !matches!(signal, Signal::ABRT | Signal::KILL) {
            worker.told_to_leave = true;
            let again = std::mem::take(&mut worker.hurry);
            let told = worker.told.replace(signal);
            let by_another = self.stop_requested && told != Some(signal);
            let first = told.is_none();
            assert!(first || by_another || again, "{pid} is told to leave twice");
        }
    }

    fn report(&mut self, report: &Report, rules: &Rules, now: Time) {
        match *report {
            Report::Ready { pid, .. } => self.ready(pid, rules, now),
            Report::Stuck { pid, silent, .. } => self.stuck(pid, silent, rules, now),
            Report::NeverReady { pid, .. } => {
                let worker = self.workers.get_mut(&pid).expect("a live worker");
                assert!(rules.readiness == Readiness::Notify && !worker.said_ready);
                let time = worker.born + rules.start_timeout;
                assert!(time <= now, "{pid} is given up before its time");
                worker.given_up = true;
                worker.kill_after(rules.stop_timeout.unwrap_or(GRACE), now);
                self.retry_from = Some(self.last_attempt + SHORTEST_RETRY);
            }
            Report::FailedToStart { .. } | Report::NotSpawned { .. } => {
                self.retry_from = Some(self.last_attempt + SHORTEST_RETRY);
            }
            Report::GaveUp { .. } => {
                self.retry_from = None;
                self.restart_base = now;
            }
            Report::CheckFailed { .. } => self.restart_base = now,
            Report::AutoRestart { interval, .. } => {
                let due = self.restart_base + interval;
                assert!(due <= now, "an automatic restart before its time");
            }
            Report::Stopping { .. } | Report::LeftBehind { .. } => self.stopping = true,
            Report::Started { .. }
            | Report::Extended { .. }
            | Report::DiedUnexpectedly { .. }
            | Report::OldDied { .. }
            | Report::Reloading(_)
            | Report::ReloadQueued(_)
            | Report::Replacing { .. }
            | Report::KillDelayed(_)
            | Report::KillingOld
            | Report::Settled
            | Report::StoppedWorker { .. }
            | Report::Overdue { .. }
            | Report::Exiting => {}
        }
    }

    fn ready(&mut self, pid: Pid, rules: &Rules, now: Time) {
        let worker = self.workers.get_mut(&pid).expect("a live worker");
        let lived = worker.born + rules.interval <= now;
        let counts = match rules.readiness {
            Readiness::Auto => worker.said_ready || lived,
            Readiness::Alive => lived,
            Readiness::Notify => worker.said_ready,
        };
        assert!(counts, "{pid} is ready before the rule says so");
        assert!(!worker.given_up, "{pid} is ready after it was given up");
        worker.ready = true;
        worker.pinged = now;
        self.restart_base = now;
        self.newest_ready = Some(pid);
        self.own_ready = true;
    }

    fn stuck(&mut self, pid: Pid, silent: Option<Duration>, rules: &Rules, now: Time) {
        let worker = self.workers.get_mut(&pid).expect("a live worker");
        assert!(worker.ready && !worker.signalled, "{pid} is not serving");
        assert!(rules.worker_watchdog.is_some(), "there is no watchdog");
        let was_silent = silent.is_none_or(|silent| worker.pinged + silent <= now);
        assert!(was_silent, "{pid} has pinged in time");
        worker.stuck = true;
        worker.kill_after(rules.stop_timeout.unwrap_or(GRACE), now);
    }

    fn exit(&mut self, code: u8) {
        assert!(self.requests.is_empty(), "a request has no answer");
        assert!(!self.checking, "a check is left behind");
        let left = self.workers.values().filter(|w| !w.is_left_behind());
        assert_eq!(left.count(), 0, "a worker is left behind");
        if !self.workers.is_empty() {
            assert_eq!(code, 1, "adopted workers are left behind");
            assert!(!self.stop_requested, "a stop leaves workers behind");
            assert!(!self.own_ready, "left behind after the first start");
        }
        assert!(
            code == 1 || self.stop_requested,
            "status 0 without a request to stop"
        );
        self.exit = Some(code);
    }
}
