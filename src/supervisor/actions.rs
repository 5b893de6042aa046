//! Events go into the machine, and the actions that come out are carried out. Reports among them go to the log, the
//! history, systemd and clients.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Flow, Supervisor};
use crate::control::protocol::{Awaited, Leaving, Progress, Step};
use crate::error::DisplayIoError;
use crate::log;
use crate::machine::{Action, Event, Generation, Notification, Report, Time};
use crate::sys;
use crate::systemd::Status;
use crate::types::{Pid, Signal};
use crate::worker::{ProcessTree, SpawnError};

/// The pause before the status file is tried again after a failure (a full disk, for example).
const STATUS_RETRY: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Hands an event to the machine, and carries out its actions and those of the events that follow from
    /// them.
    pub(super) fn handle(&mut self, event: Event) -> Flow {
        // A start and a kill-old-delay have to follow the envdir as it is now.
        let settings = match event {
            Event::Stop(_) => None,
            Event::Notified(_, notification) if notification != Notification::Ready => None,
            _ => self.environment.refresh(&self.live, self.now()),
        };
        let settings = settings.map(Event::SettingsChanged);
        let mut events: VecDeque<Event> = settings.into_iter().chain([event]).collect();
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(event, self.now()) {
                match action {
                    // The machine has to get the result before any other event.
                    Action::Spawn(generation) => {
                        let spawned = self.spawn(generation);
                        let ended = self.end_of_pid_owner(&spawned);
                        events.push_front(spawned);
                        ended.into_iter().for_each(|event| events.push_front(event));
                    }
                    Action::Check(generation) => {
                        if let Some(failed) = self.start_check(generation) {
                            events.push_front(failed);
                        }
                    }
                    Action::EndCheck => self.kill_check(),
                    Action::Signal(pid, signal) => self.signal(pid, signal),
                    Action::Kill(pid) => self.kill(pid),
                    Action::Abort(pid) => self.abort(pid),
                    Action::PublishStatus => self.status_due = true,
                    Action::Answer(request, answer) => {
                        self.write_status_file();
                        self.answer(request, answer);
                    }
                    Action::Report(report) => self.report(&report),
                    Action::Exit(code) => return Flow::Break(code),
                }
            }
        }
        Flow::Continue(())
    }

    /// Applies the envdir's settings before the first event.
    pub(super) fn apply_settings(&mut self, now: Time) {
        if let Some(settings) = self.environment.refresh(&self.live, now) {
            let event = Event::SettingsChanged(settings);
            self.machine.handle(event, now); // returns no actions
        }
    }

    fn spawn(&mut self, generation: Generation) -> Event {
        let spawned = self
            .notify_sockets
            .open(generation)
            .map_err(SpawnError::transient)
            .and_then(|socket| self.spawner.spawn(generation, &self.environment, socket));
        match spawned {
            Ok(pid) => {
                self.notify_sockets.set_worker(generation, pid);
                Event::Spawned(pid)
            }
            Err(error) => {
                self.notify_sockets.close(generation);
                log::not_spawned(generation, &error.reason).write();
                self.history.attempt_failed(&error.reason);
                self.last_failure = Some(error.reason);
                Event::SpawnFailed(error.kind)
            }
        }
    }

    /// Ends a worker and everything that it has started.
    pub(super) fn kill(&self, pid: Pid) {
        if self.adopted.has(pid) {
            return self.signal(pid, Signal::KILL); // with its process tree, which is verified there
        }
        // Read before the worker dies: its children then belong to another parent.
        let tree = ProcessTree::of(pid);
        self.signal(pid, Signal::KILL);
        let generation = self.machine.generation_of(pid);
        self.spawner.kill_descendants(generation, &tree);
    }

    /// Aborts a stuck worker. What it has started would live on and accept connections, and is killed after
    /// it: a core dump takes its time.
    fn abort(&mut self, pid: Pid) {
        self.aborted.push((pid, ProcessTree::of(pid)));
        self.signal(pid, Signal::ABRT);
    }

    /// Ends what a worker has started that is dead after an abort.
    pub(super) fn end_aborted(&mut self, pid: Pid, generation: Generation) {
        if let Some(at) = self.aborted.iter().position(|(aborted, _)| *aborted == pid) {
            let (_, tree) = self.aborted.swap_remove(at);
            self.spawner.kill_descendants(Some(generation), &tree);
        }
    }

    fn signal(&self, pid: Pid, signal: Signal) {
        let sent = match self.adopted.kill(pid, signal) {
            Some(sent) => sent,
            None => sys::process::kill(pid, signal).map_err(Into::into),
        };
        if let Err(e) = sent {
            tracing::error!(
                worker_pid = pid,
                "failed to send {signal} to worker {pid}: {}",
                DisplayIoError(&e)
            );
        }
    }

    /// Writes the status file if it is out of date: once for all deaths of an iteration, but before
    /// a client or systemd hears of the change.
    pub(super) fn write_status_file(&mut self) {
        if !std::mem::take(&mut self.status_due) {
            return;
        }
        let Some(file) = &mut self.status_file else {
            return;
        };
        let written = file.publish(self.machine.live());
        if let (Err(e), None) = (&written, self.status_retry) {
            tracing::error!(
                "failed to write status file {file}, trying again: {}",
                DisplayIoError(e)
            );
        }
        self.status_retry = written.err().map(|_| self.now() + STATUS_RETRY);
    }

    /// Logs a report, and passes it to the history, to systemd, to clients and to the launcher.
    fn report(&mut self, report: &Report) {
        if matches!(report, Report::Ready { .. }) {
            self.write_status_file();
        }
        let entry = log::entry(report);
        if let Some(entry) = &entry {
            entry.write();
        }
        let current = self.machine.current();
        let generation = current.map(|(generation, _)| generation);
        self.history.report(report, generation, self.now());
        let history = &self.history;
        self.notifier.report(report, Status { current, history });
        self.report_to_clients(report);
        match report {
            Report::Ready { .. } => {
                if let Some(launcher) = self.launcher.take() {
                    launcher.report(0, "");
                }
            }
            Report::FailedToStart { generation, .. } | Report::NeverReady { generation, .. } => {
                self.last_failure = entry.map(|entry| entry.line);
                if let Some(text) = self.history.status_text(*generation) {
                    tracing::error!(generation, "its last STATUS: {text}");
                }
            }
            _ => {}
        }
    }

    /// Replies to clients that wait for a reload or a stop with the step that this report is.
    fn report_to_clients(&mut self, report: &Report) {
        let (step, generation, pid) = match *report {
            Report::StoppedWorker { .. } | Report::Stopping { .. } => {
                let workers = self.machine.workers().map(|(_, pid, _)| pid).collect();
                return self.progress(Awaited::Stop, &Leaving { workers });
            }
            Report::Started { generation, pid } => (Step::Started, generation, Some(pid)),
            Report::Ready { generation, pid } => (Step::Ready, generation, Some(pid)),
            Report::FailedToStart {
                generation, pid, ..
            }
            | Report::NeverReady {
                generation, pid, ..
            } => (Step::AttemptFailed, generation, Some(pid)),
            Report::NotSpawned { generation } => (Step::AttemptFailed, generation, None),
            Report::OldDied { .. } => {
                let current = self.machine.current().map_or(0, |(g, _)| g);
                (Step::Draining, current, None)
            }
            _ => return,
        };
        let is = |this| step == this;
        let progress = Progress {
            step,
            generation: Some(generation),
            pid,
            reason: is(Step::AttemptFailed).then(|| self.history.reason().to_owned()),
            draining: is(Step::Draining).then(|| self.older_than(generation)),
        };
        self.progress(Awaited::Reload, &progress);
    }

    /// Makes the control socket again if its file is gone.
    pub(super) fn check_control_socket(&mut self) {
        let now = self.now();
        if let Some(server) = &mut self.control {
            server.check_file(now);
        }
    }

    pub(super) fn reopen_log(&self) {
        match self.log.reopen() {
            Ok(()) => tracing::debug!("log file reopened"),
            Err(e) => tracing::error!(
                "failed to reopen log file {}: {}",
                self.log_name,
                DisplayIoError(&e)
            ),
        }
    }
}
