//! The loop: wait, turn the kernel's news into events, carry out what the machine decides.
//!
//! One thread and one ppoll(2). The next deadline is one more descriptor; without one it sleeps
//! until something happens. In a turn signals come first, then dead children, then what workers
//! have said, then the clock: a worker that has died just before its time was up, or just after it
//! said that it was ready, has failed, and nobody makes way for it.

mod builder;
mod check;
mod control;
mod reopen;
mod start;
mod taken_over;
pub(crate) mod upgrade;
mod wait;

pub use start::run;
pub use upgrade::preflight;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;

use upgrade::Upgrade;

use crate::config::LiveConfig;
use crate::control::Server;
use crate::error::DisplayIoError;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::history::History;
use crate::log;
use crate::machine::{Action, Event, Generation, Machine, Notification, Report, Time};
use crate::sockets::{Reopener, Sockets};
use crate::sys;
use crate::sys::daemon::Launcher;
use crate::sys::signals::Signals;
use crate::sys::timer::Timer;
use crate::systemd::{Notifier, Status};
use crate::takeover::Adopted;
use crate::types::{Pid, Signal};
use crate::worker::{Environment, NotifySockets, SpawnError, Spawner, StatusText};

/// Until the status file is tried again after a failure (a full disk, say).
const STATUS_RETRY: Duration = Duration::from_secs(1);

/// Everything a running supervisor holds.
struct Supervisor {
    machine: Machine,
    /// The machine's time 0, on the monotonic clock.
    origin: Duration,
    /// Descriptors of our own have this number or a higher one: no socket is assigned to those.
    min_fd: RawFd,
    signals: Signals,
    /// Rings at the next deadline; none: ppoll's own time-out has to do.
    timer: Option<Timer>,
    spawner: Spawner,
    notify_sockets: NotifySockets,
    environment: Environment,
    live: LiveConfig,
    notifier: Notifier,
    history: History,
    log: LogFile,
    log_name: String,
    /// Who waits for the first generation.
    launcher: Option<Launcher>,
    /// The latest reason why a worker did not start, for the launcher.
    last_failure: Option<String>,
    status_file: Option<StatusFile>,
    /// It is to be written anew, before anybody can know why.
    status_due: bool,
    /// When to try again to write it.
    status_retry: Option<Time>,
    /// Waiting fails, and that has been said.
    poll_failed: bool,
    /// What is run before a reload, by a shell.
    check_command: Option<OsString>,
    /// It runs.
    check: Option<Pid>,
    upgrade: Upgrade,
    control: Option<Server>,
    /// Workers of a supervisor that was killed.
    adopted: Adopted,
    sockets: Sockets,
    reopener: Reopener,
    /// A socket has been shut down.
    sockets_shut_down: bool,
    pid_file: Option<PidFile>,
}

impl Supervisor {
    fn now(&self) -> Time {
        sys::clock::monotonic().saturating_sub(self.origin)
    }

    /// Turns until the machine has come to its end; returns the exit status.
    fn run(mut self) -> u8 {
        let code = loop {
            let end = self.iterate();
            self.settle_status();
            if let Some(code) = end {
                break code;
            }
            self.upgrade_if_due();
            self.wait();
        };
        let now = self.now();
        self.leave_behind();
        self.spawner.clean_up();
        self.kill_preflight();
        self.answer_stoppers();
        let Supervisor {
            control,
            sockets,
            notify_sockets,
            status_file,
            pid_file,
            log,
            launcher,
            ..
        } = self;
        // The lock, which says that we are alive, goes after what it protects. The log comes last,
        // for its command may take its time.
        drop(sockets);
        drop(notify_sockets);
        drop(status_file);
        drop(pid_file);
        drop(control); // who waits for our end sees that all of it has gone
        log.close(now);
        if let Some(launcher) = launcher {
            let reason = self.last_failure;
            let reason = reason.unwrap_or_else(|| "stopped before it was ready".to_owned());
            launcher.tell(
                code.max(1),
                &format!("start_server: {reason} (log: {})", self.log_name),
            );
        }
        code
    }

    /// Takes in everything that has happened. The end: the exit status.
    fn iterate(&mut self) -> Option<u8> {
        log::flush();
        while let Some(signal) = self.signals.next() {
            let event = match signal {
                Signal::HUP => {
                    self.check_control_socket();
                    self.retry_lost_sockets();
                    Event::Hup
                }
                Signal::TERM | Signal::INT | Signal::QUIT => Event::Stop(signal),
                Signal::USR1 => {
                    self.reopen_log();
                    self.check_control_socket();
                    continue;
                }
                Signal::USR2 => {
                    tracing::info!("received USR2, upgrading this program");
                    self.request_upgrade();
                    continue;
                }
                Signal::CHLD => continue, // the dead are counted below, whoever called
                _ => {
                    tracing::info!("received {signal}, which means nothing here");
                    continue;
                }
            };
            if let Some(code) = self.handle(event) {
                return Some(code);
            }
        }
        // Before the dead are reaped, so that the one who has done it can be named.
        if std::mem::take(&mut self.sockets_shut_down) {
            if let Some(code) = self.reopen_sockets() {
                return Some(code);
            }
        }
        if let Some(code) = self.process_pending() {
            return Some(code);
        }
        if let Some(code) = self.serve_clients() {
            return Some(code);
        }
        let now = self.now();
        self.tick_upgrade(now);
        self.log.tick(now);
        let (current, history) = (self.machine.current(), &self.history);
        self.notifier.tick(now, Status { current, history });
        self.status_due |= self.status_retry.is_some_and(|at| at <= now);
        if self.machine.deadline().is_some_and(|at| at <= self.now()) {
            // Nobody's time is up because we were slow: who has died or spoken meanwhile comes first.
            self.poll_fds(now, Some(Duration::ZERO));
            return self.process_pending().or_else(|| self.handle(Event::Tick));
        }
        match self.environment.changed(now) {
            true => self.handle(Event::Tick),
            false => None,
        }
    }

    /// Takes in who has died, and then what workers have said.
    fn process_pending(&mut self) -> Option<u8> {
        for text in self.notify_sockets.hear() {
            self.set_status_text(text);
        }
        // One at a time: what the machine decides about one death must not reach a pid whose
        // owner has been reaped in the same breath.
        while let Some((pid, status)) = sys::process::next_dead_child() {
            if let Some(code) = self.child_died(pid, status) {
                return Some(code);
            }
        }
        if let Some(code) = self.adopted_ended() {
            return Some(code);
        }
        while let Some((generation, word)) = self.notify_sockets.next_notification() {
            if let Some(code) = self.handle(Event::Notified(generation, word)) {
                return Some(code);
            }
        }
        None
    }

    fn set_status_text(&mut self, text: StatusText) {
        if self.history.set_status_text(text) {
            self.notifier.status_changed();
        }
    }

    fn child_died(&mut self, pid: Pid, status: i32) -> Option<u8> {
        self.adopted.remove(pid);
        if let Some(generation) = self.machine.generation_of(pid) {
            if let Some(text) = self.notify_sockets.close(generation) {
                self.set_status_text(text);
            }
            let end = self.handle(Event::Exited(pid, status));
            self.history.forget(generation);
            return end;
        }
        if let Some(event) = self.check_died(pid, status) {
            return self.handle(event);
        }
        if self.preflight_died(pid, status) {
            return None;
        }
        if !self.log.died(pid, status, self.now()) {
            tracing::debug!(pid, status, "reaped an orphan");
        } else if self.launcher.is_some() {
            // Whoever waits would never read why nothing is logged.
            let how = sys::process::describe_status(status);
            self.last_failure = Some(format!("the log command ended ({how})"));
            return self.handle(Event::Stop(Signal::TERM));
        }
        None
    }

    /// Hands an event to the machine and carries out its actions, and those of the events that
    /// come of them.
    fn handle(&mut self, event: Event) -> Option<u8> {
        // Whatever may start a worker, or a delay, does so by the envdir of this moment.
        let tuned = match event {
            Event::Stop(_) => None,
            Event::Notified(_, word) if word != Notification::Ready => None,
            _ => self
                .environment
                .refresh(&self.live, self.now())
                .map(Event::SettingsChanged),
        };
        let mut events: VecDeque<Event> = tuned.into_iter().chain([event]).collect();
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(event, self.now()) {
                match action {
                    Action::Spawn(generation) => {
                        let spawned = self.spawn(generation);
                        let ended = self.had_the_number(&spawned);
                        events.push_front(spawned);
                        ended.into_iter().for_each(|event| events.push_front(event));
                    }
                    Action::Signal(pid, signal) => self.signal(pid, signal),
                    Action::PublishStatus => self.status_due = true,
                    Action::Check(generation) => {
                        self.tell_of_check();
                        self.begin_check(generation)
                            .into_iter()
                            .for_each(|event| events.push_front(event));
                    }
                    Action::EndCheck => self.end_check(),
                    Action::Answer(request, answer) => {
                        self.settle_status();
                        self.answer(request, answer);
                    }
                    Action::Report(report) => self.report(&report),
                    Action::Exit(code) => return Some(code),
                }
            }
        }
        None
    }

    /// Takes the envdir's settings in, and begins to watch it, before anything has happened.
    fn tune(&mut self, now: Time) {
        if let Some(live_settings) = self.environment.refresh(&self.live, now) {
            self.machine
                .handle(Event::SettingsChanged(live_settings), now); // which asks for nothing
        }
    }

    fn spawn(&mut self, generation: Generation) -> Event {
        let spawned = self
            .notify_sockets
            .open(generation)
            .map_err(SpawnError::for_now)
            .and_then(|socket| self.spawner.spawn(generation, &self.environment, socket));
        match spawned {
            Ok(pid) => {
                self.notify_sockets.belongs_to(generation, pid);
                Event::Spawned(pid)
            }
            Err(failure) => {
                self.notify_sockets.close(generation);
                log::not_spawned(generation, &failure.reason).write();
                self.history.attempt_failed(&failure.reason);
                self.last_failure = Some(failure.reason);
                Event::SpawnFailed(failure.kind)
            }
        }
    }

    fn signal(&self, pid: Pid, signal: Signal) {
        let sent = match (
            self.adopted.kill(pid, signal),
            self.machine.generation_of(pid),
        ) {
            (Some(sent), _) => sent,
            (None, Some(generation)) if signal == Signal::KILL => {
                self.spawner.kill(generation, pid).map_err(Into::into)
            }
            (None, _) => sys::process::kill(pid, signal).map_err(Into::into),
        };
        if let Err(e) = sent {
            tracing::error!(
                worker_pid = pid,
                "failed to send {signal} to worker {pid}: {}",
                DisplayIoError(&e)
            );
        }
    }

    /// Writes the status file, if that is due: once for all that have died in a turn, but before
    /// anybody is told of something who may look into it.
    fn settle_status(&mut self) {
        if !std::mem::take(&mut self.status_due) {
            return;
        }
        let Some(file) = &mut self.status_file else {
            return;
        };
        let written = file.publish(self.machine.live());
        match &written {
            Err(e) if self.status_retry.is_none() => {
                tracing::error!(
                    "failed to write status file {file}, trying again: {}",
                    DisplayIoError(e)
                );
            }
            _ => {}
        }
        self.status_retry = written.err().map(|_| self.now() + STATUS_RETRY);
    }

    fn report(&mut self, report: &Report) {
        if matches!(report, Report::Ready { .. }) {
            self.settle_status();
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
        self.tell_clients(report);
        match report {
            Report::Ready { .. } => {
                if let Some(launcher) = self.launcher.take() {
                    launcher.tell(0, "");
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

    /// Makes the control socket again if its file is gone.
    fn check_control_socket(&mut self) {
        let now = self.now();
        if let Some(server) = &mut self.control {
            server.check_file(now);
        }
    }

    fn reopen_log(&self) {
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
