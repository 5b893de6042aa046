//! The supervisor's side of the control socket: what clients ask becomes events, and what happens is
//! told to those who wait for it.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use crate::control::protocol::{
    self, Counters, Failure, Leaving, Method, Progress, Status, Step, Upgraded, Worker,
};
use crate::control::{CallId, Server};
use crate::history::{History, Verdict};
use crate::log;
use crate::machine::{Answer, Event, Report, Request, State, Time, Until};
use crate::types::{Pid, Signal};

/// The control socket, and who waits for what.
#[derive(Default)]
pub(super) struct Clients {
    pub(super) server: Option<Server>,
    /// Those who have asked for a reload.
    reloads: Vec<CallId>,
    stops: Vec<CallId>,
    /// Those who have asked for an upgrade of this program.
    pub(super) upgrades: Vec<CallId>,
}

/// Who waits for what, as the next program in this process gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedClients {
    reloads: Vec<CallId>,
    stops: Vec<CallId>,
    upgrades: Vec<CallId>,
}

impl Clients {
    pub(super) fn new(server: Option<Server>) -> Clients {
        Clients {
            server,
            ..Clients::default()
        }
    }

    pub(super) fn save(&self) -> SavedClients {
        SavedClients {
            reloads: self.reloads.clone(),
            stops: self.stops.clone(),
            upgrades: self.upgrades.clone(),
        }
    }

    pub(super) fn resume(server: Option<Server>, saved: SavedClients) -> Clients {
        Clients {
            server,
            reloads: saved.reloads,
            stops: saved.stops,
            upgrades: saved.upgrades,
        }
    }

    fn next_call(&mut self) -> Option<(CallId, Method)> {
        self.server.as_mut()?.next_call()
    }

    /// Forgets who has gone without an answer.
    fn take_disconnected(&mut self) -> Vec<CallId> {
        let server = self.server.as_mut();
        let gone = server.map(Server::take_disconnected).unwrap_or_default();
        if !gone.is_empty() {
            self.reloads.retain(|call| !gone.contains(call));
            self.stops.retain(|call| !gone.contains(call));
            self.upgrades.retain(|call| !gone.contains(call));
        }
        gone
    }

    fn progress(&mut self, progress: &Progress) {
        if let Some(server) = &mut self.server {
            for call in &self.reloads {
                server.progress(*call, progress);
            }
        }
    }

    fn progress_of(&mut self, call: CallId, progress: &Progress) {
        if let Some(server) = &mut self.server {
            server.progress(call, progress);
        }
    }

    pub(super) fn finish<T: Serialize>(&mut self, call: CallId, result: Result<&T, &Failure>) {
        if let Some(server) = &mut self.server {
            server.finish(call, result);
        }
    }
}

impl Supervisor {
    /// Does what clients want. The end: the exit status.
    pub(super) fn serve_clients(&mut self) -> Option<u8> {
        while let Some((call, method)) = self.clients.next_call() {
            let event = match method {
                Method::Status => {
                    let status = self.status();
                    self.clients.finish(call, Ok(&status));
                    continue;
                }
                Method::Reload(until) => {
                    self.clients.reloads.push(call);
                    if !matches!(self.machine.state(), State::Serving | State::Stopping) {
                        let waiting = Progress::at(Step::Waiting);
                        self.clients.progress_of(call, &waiting);
                    }
                    Event::ReloadRequested(Request { id: call, until })
                }
                Method::Upgrade => {
                    tracing::info!("asked to upgrade this program");
                    self.upgrade_asked(Some(call));
                    continue;
                }
                Method::Stop => {
                    self.clients.stops.push(call);
                    tracing::info!("asked to stop");
                    Event::Stop(Signal::TERM)
                }
            };
            if let Some(code) = self.handle(event) {
                return Some(code);
            }
        }
        // Last, for some have gone right after their call.
        for call in self.clients.take_disconnected() {
            if let Some(code) = self.handle(Event::RequesterGone(call)) {
                return Some(code);
            }
        }
        None
    }

    /// The last word to somebody who has asked for a reload, or the last but one.
    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        let Request { id, until } = request;
        let waits = |call: &CallId| *call == id;
        let Some(at) = self.clients.reloads.iter().position(waits) else {
            return;
        };
        let (step, generation) = match answer {
            Answer::Replaced(generation) => (Step::Replaced, generation),
            Answer::Drained(generation) => (Step::Drained, generation),
            Answer::Failed { kept } => {
                let reason = self.history.reason().to_owned();
                let log = self.where_to_look();
                let failure = Failure::ReloadFailed { reason, kept, log };
                self.clients.reloads.remove(at);
                return self.clients.finish::<()>(id, Err(&failure));
            }
            Answer::Stopped => {
                self.clients.reloads.remove(at);
                return self.clients.finish::<()>(id, Err(&Failure::Stopping));
            }
        };
        let progress = Progress {
            generation: Some(generation),
            draining: Some(self.older_than(generation)),
            ..Progress::at(step)
        };
        if step == Step::Replaced && until == Until::Drained {
            return self.clients.progress_of(id, &progress);
        }
        self.clients.reloads.remove(at);
        self.clients.finish(id, Ok(&progress));
    }

    /// Where people find what the last worker that failed has written.
    fn where_to_look(&self) -> Option<String> {
        if !self.log_name.is_empty() {
            return Some(self.log_name.clone());
        }
        let unit = || {
            self.history
                .failed_worker()
                .map(|pid| format!("journalctl _PID={pid}"))
        };
        log::stderr_is_the_journal().then(unit).flatten()
    }

    fn older_than(&self, generation: u64) -> Vec<Pid> {
        let live = self.machine.live();
        live.filter(|(g, _)| *g < generation)
            .map(|(_, pid)| pid)
            .collect()
    }

    /// Tells those who want to know each step.
    pub(super) fn tell_clients(&mut self, report: &Report) {
        if let Report::StoppedWorker { .. } | Report::Stopping { .. } = report {
            let workers = self.machine.workers().map(|(_, pid, _)| pid).collect();
            return self.tell_stoppers(&Leaving { workers });
        }
        if self.clients.reloads.is_empty() {
            return;
        }
        let of = |step, generation, pid| Progress {
            generation: Some(generation),
            pid,
            ..Progress::at(step)
        };
        let progress = match *report {
            Report::Started { generation, pid } => of(Step::Started, generation, Some(pid)),
            Report::Ready { generation, pid } => of(Step::Ready, generation, Some(pid)),
            Report::FailedToStart {
                generation, pid, ..
            }
            | Report::NeverReady {
                generation, pid, ..
            } => of(Step::AttemptFailed, generation, Some(pid)),
            Report::NotSpawned { generation } => of(Step::AttemptFailed, generation, None),
            Report::OldDied { .. } => {
                let current = self.machine.current().map_or(0, |(g, _)| g);
                let draining = Some(self.older_than(current));
                Progress {
                    draining,
                    ..of(Step::Draining, current, None)
                }
            }
            _ => return,
        };
        let reason = match progress.step {
            Step::AttemptFailed => Some(self.history.reason().to_owned()),
            _ => None,
        };
        self.clients.progress(&Progress { reason, ..progress });
    }

    pub(super) fn tell_of_check(&mut self) {
        self.clients.progress(&Progress::at(Step::Checking));
    }

    fn tell_stoppers(&mut self, leaving: &Leaving) {
        if let Some(server) = &mut self.clients.server {
            for call in &self.clients.stops {
                server.progress(*call, leaving);
            }
        }
    }

    /// No worker is left.
    pub(super) fn answer_stoppers(&mut self) {
        let nobody = Leaving {
            workers: Vec::new(),
        };
        for call in std::mem::take(&mut self.clients.stops) {
            self.clients.finish(call, Ok(&nobody));
        }
    }

    /// This program has taken the place of another release.
    pub(super) fn upgraded(&mut self, from: &str) {
        log::upgraded(from).write();
        let upgraded = Upgraded {
            from: from.to_owned(),
            to: env!("CARGO_PKG_VERSION").to_owned(),
        };
        for call in std::mem::take(&mut self.clients.upgrades) {
            self.clients.finish(call, Ok(&upgraded));
        }
    }

    fn status(&self) -> Status {
        let now = self.now();
        let workers = self.machine.workers().map(|(generation, pid, state)| {
            let life = self.history.life_of(generation);
            let span = |since: Time| now.saturating_sub(since).as_secs_f64();
            Worker {
                generation,
                pid,
                state,
                age: life.map_or(0.0, |life| span(life.started)),
                ready_for: life.and_then(|life| life.ready).map(span),
                says: self.history.words_of(generation).map(str::to_owned),
            }
        });
        let sockets = self.sockets.told().map(|socket| protocol::Socket {
            key: socket.key.to_string_lossy().into_owned(),
            fd: socket.fd,
            name: socket.name,
            inherited: socket.inherited,
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.history.since,
            state: self.machine.state(),
            generation: self.machine.current().map(|(generation, _)| generation),
            workers: workers.collect(),
            sockets: sockets.collect(),
            last_reload: self.history.last_reload().map(told),
            counters: counters(&self.history),
        }
    }
}

fn told(verdict: &Verdict) -> protocol::Verdict {
    protocol::Verdict {
        succeeded: verdict.failure.is_none(),
        at: verdict.at,
        generation: verdict.generation,
        reason: verdict.failure.clone(),
    }
}

fn counters(history: &History) -> Counters {
    let counters = history.counters;
    Counters {
        reloads_succeeded: counters.reloads_succeeded,
        reloads_failed: counters.reloads_failed,
        starts_failed: counters.starts_failed,
        unexpected_deaths: counters.unexpected_deaths,
    }
}
