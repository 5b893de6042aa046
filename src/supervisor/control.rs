//! The supervisor's side of the control socket: calls become events, and clients get their last replies.

use serde::Serialize;

use super::{Flow, Supervisor};
use crate::control::Server;
use crate::control::protocol::{
    self, Awaited, Failure, LastReload, Leaving, Method, Progress, Status, Step, Upgraded, Worker,
};
use crate::log;
use crate::machine::{Answer, Event, Request, SupervisorState, Time, Until};
use crate::types::{Pid, Signal};

impl Supervisor {
    /// Carries out the calls of clients.
    pub(super) fn serve_clients(&mut self) -> Flow {
        while let Some((call, method)) = self.control.as_mut().and_then(Server::next_call) {
            match method {
                Method::Status => {
                    let status = self.status();
                    if let Some(server) = &mut self.control {
                        server.finish(call, Ok(&status));
                    }
                }
                Method::Reload(until) => {
                    self.retry_lost_sockets();
                    let waits = !matches!(
                        self.machine.supervisor_state(),
                        SupervisorState::Serving | SupervisorState::Stopping
                    );
                    if let Some(server) = self.control.as_mut().filter(|_| waits) {
                        server.progress(call, &Progress::at(Step::Waiting));
                    }
                    let request = Request { id: call, until };
                    self.handle(Event::ReloadRequested(request))?;
                }
                Method::Upgrade => {
                    tracing::info!("asked to upgrade this program");
                    self.request_upgrade();
                }
                Method::Stop => {
                    tracing::info!("asked to stop");
                    self.handle(Event::Stop(Signal::TERM))?;
                }
            }
        }
        // After the calls: a client may have disconnected right after its own.
        let disconnected = self.control.as_mut().map(Server::take_disconnected);
        for call in disconnected.unwrap_or_default() {
            self.handle(Event::RequesterGone(call))?;
        }
        Flow::Continue(())
    }

    /// Replies to a request for a reload.
    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        let Request { id, until } = request;
        let progress = |step, generation| Progress {
            generation: Some(generation),
            draining: Some(self.older_than(generation)),
            ..Progress::at(step)
        };
        let result = match answer {
            Answer::Replaced(generation) => Ok(progress(Step::Replaced, generation)),
            Answer::Drained(generation) => Ok(progress(Step::Drained, generation)),
            Answer::Failed { kept } => Err(Failure::ReloadFailed {
                reason: self.history.reason().to_owned(),
                kept,
                log: self.where_to_look(),
            }),
            Answer::Stopped => Err(Failure::Stopping),
        };
        let Some(server) = &mut self.control else {
            return;
        };
        let more_follow = until == Until::Drained && matches!(answer, Answer::Replaced(_));
        match result {
            Ok(progress) if more_follow => server.progress(id, &progress),
            result => server.finish(id, result.as_ref()),
        }
    }

    /// The file or the command that shows the output of the last worker that failed.
    fn where_to_look(&self) -> Option<String> {
        if !self.log_name.is_empty() {
            return Some(self.log_name.clone());
        }
        let pid = self.history.failed_worker()?;
        log::stderr_is_the_journal().then(|| format!("journalctl _PID={pid}"))
    }

    pub(super) fn older_than(&self, generation: u64) -> Vec<Pid> {
        let live = self.machine.live();
        live.filter(|(g, _)| *g < generation)
            .map(|(_, pid)| pid)
            .collect()
    }

    pub(super) fn report_check_to_clients(&mut self) {
        self.progress(Awaited::Reload, &Progress::at(Step::Checking));
    }

    /// Sends the last reply to clients that wait for the stop: no worker is left.
    pub(super) fn answer_stops(&mut self) {
        let workers = Vec::new();
        self.finish(Awaited::Stop, Ok(&Leaving { workers }));
    }

    /// Logs that this program has replaced release `from`, and tells clients that wait for it.
    pub(super) fn upgraded(&mut self, from: &str) {
        log::upgraded(from).write();
        let upgraded = Upgraded {
            from: from.to_owned(),
            to: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.finish(Awaited::Upgrade, Ok(&upgraded));
    }

    pub(super) fn progress(&mut self, awaited: Awaited, step: &impl Serialize) {
        if let Some(server) = &mut self.control {
            server.progress_all(awaited, step);
        }
    }

    /// Sends the last reply to all clients that wait for this.
    pub(super) fn finish<T: Serialize>(&mut self, awaited: Awaited, result: Result<&T, &Failure>) {
        if let Some(server) = &mut self.control {
            server.finish_all(awaited, result);
        }
    }

    fn status(&self) -> Status {
        let now = self.now();
        let workers = self.machine.workers().map(|(generation, pid, state)| {
            let lifetime = self.history.lifetime(generation);
            let span = |since: Time| now.saturating_sub(since).as_secs_f64();
            Worker {
                generation,
                pid,
                state,
                age: lifetime.map_or(0.0, |lifetime| span(lifetime.started)),
                ready_for: lifetime.and_then(|lifetime| lifetime.ready).map(span),
                adopted: self.machine.is_adopted(pid),
                says: self.history.status_text(generation).map(str::to_owned),
            }
        });
        let sockets = self.sockets.describe().map(|socket| protocol::Socket {
            key: socket.key.to_string_lossy().into_owned(),
            fd: socket.fd,
            name: socket.name,
            inherited: socket.inherited,
            kept: socket.kept,
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.history.since,
            state: self.machine.supervisor_state(),
            generation: self.machine.current().map(|(generation, _)| generation),
            workers: workers.collect(),
            sockets: sockets.collect(),
            last_reload: self.history.last_reload().map(LastReload::from),
            counters: self.history.counters,
        }
    }
}
