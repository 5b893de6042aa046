//! Notifications to systemd, sd_notify(3).
//!
//! `READY=1` once the first generation serves; `RELOADING=1` when a reload begins, and `READY=1` whenever
//! it ends, in failure, too; `STOPPING=1`; a `STATUS=` line for `systemctl status`; `WATCHDOG=1` from the
//! loop, so that a supervisor that hangs is noticed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use super::is_listening;
use super::outbox::Outbox;
use crate::error::DisplayIoError;
use crate::history::History;
use crate::machine::{Generation, Report, Time};
use crate::sys::process::describe_end;
use crate::types::Pid;

/// Added to each time that systemd is asked to wait: longer than any iteration of the loop.
const MARGIN: Duration = Duration::from_secs(10);

/// The least time between two status lines that only relay a worker's `STATUS=`: a worker may send many.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// The pause before something is sent again that could not be sent.
const RETRY: Duration = Duration::from_secs(1);

/// Sends the notifications. Does nothing without a service manager.
pub(crate) struct Notifier {
    listening: bool,
    /// Half of the watchdog time of the unit.
    ping_every: Option<Duration>,
    next_ping: Time,
    timeouts: Timeouts,
    state: NotifierState,
    /// A worker's `STATUS=` has changed since the last status line.
    status_changed: bool,
    next_status: Time,
    outbox: Outbox,
}

/// How long a start and a stop may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From a worker's start to its readiness.
    pub(crate) start: Duration,
    /// Whether the number of attempts is limited.
    pub(crate) attempts_are_limited: bool,
    /// From a worker's signal to SIGKILL; `None` if there is no limit.
    pub(crate) stop: Option<Duration>,
}

/// What is under way, and what has still to be sent. Upgrades keep it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifierState {
    /// From here on the status line is about the stop alone.
    stopping: bool,
    /// What is under way besides a worker's start, for the status line.
    activity: Option<String>,
    /// The worker that is not ready yet.
    starting: Option<(Generation, Pid)>,
    /// Messages that systemd has not taken yet.
    unsent: Vec<String>,
}

/// The source of the status line.
#[derive(Clone, Copy)]
pub(crate) struct Status<'a> {
    /// The worker that serves.
    pub(crate) current: Option<(Generation, Pid)>,
    pub(crate) history: &'a History,
}

impl Notifier {
    pub(crate) fn new(timeouts: Timeouts, now: Time) -> Notifier {
        let listening = is_listening();
        let watchdog = sd_notify::watchdog_enabled().filter(|_| listening);
        let ping_every = watchdog.map(|every| every / 2);
        Notifier {
            listening,
            ping_every: ping_every.filter(|every| !every.is_zero()),
            next_ping: now,
            timeouts,
            state: NotifierState::default(),
            status_changed: false,
            next_status: now,
            outbox: Outbox::default(),
        }
    }

    /// The state that the next program in this process resumes.
    pub(crate) fn state(&self) -> NotifierState {
        NotifierState {
            unsent: self.outbox.unsent(),
            ..self.state.clone()
        }
    }

    /// Goes on with the state of the program before. The status line is sent again.
    pub(crate) fn resume(&mut self, mut state: NotifierState) {
        self.outbox = Outbox::resume(std::mem::take(&mut state.unsent));
        self.state = state;
        self.status_changed = true;
    }

    /// Tells systemd which process is the service, after `--daemonize`.
    pub(crate) fn announce_daemon(&mut self) {
        self.post(&[NotifyState::MainPid(std::process::id())]);
    }

    /// To be polled for room: systemd has not read for so long that its queue is full.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.outbox.fd()
    }

    /// When [`tick`](Notifier::tick) has something to send.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let ping = self.ping_every.map(|_| self.next_ping);
        let status = (self.status_changed && self.listening).then_some(self.next_status);
        [ping, status, self.outbox.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, now: Time, status: Status<'_>) {
        self.outbox.tick(now);
        if let Some(every) = self.ping_every.filter(|_| self.next_ping <= now) {
            let sent = self.outbox.offer(&[NotifyState::Watchdog]);
            // A ping that was dropped is due again before systemd's time is over.
            let pause = if sent { every } else { every.min(RETRY) };
            self.next_ping = now.saturating_add(pause);
        }
        if self.listening && self.status_changed && self.next_status <= now {
            self.next_status = now.saturating_add(STATUS_INTERVAL);
            let line = self.state.status_line(status);
            self.status_changed = !self.outbox.offer(&[NotifyState::Status(&line)]);
            if self.status_changed {
                self.next_status = now.saturating_add(RETRY);
            }
        }
    }

    /// systemd reads again.
    pub(crate) fn flush(&mut self) {
        self.outbox.flush();
    }

    /// A worker's `STATUS=` has changed. [`tick`](Notifier::tick) sends the new status line.
    pub(crate) fn status_changed(&mut self) {
        self.status_changed = true;
    }

    /// Sends what systemd has to know of a report. The history has it already.
    pub(crate) fn report(&mut self, report: &Report, status: Status<'_>) {
        if !self.listening {
            return;
        }
        let history = status.history;
        match report {
            Report::Started { generation, pid } => {
                self.state.starting = Some((*generation, *pid));
                self.state.activity = None;
                // The first attempt has its time; others only if their number is limited.
                let bounded = history.failure().is_none() || self.timeouts.attempts_are_limited;
                let start = self.timeouts.start.saturating_add(MARGIN);
                let extension = bounded.then(|| extend(start));
                self.offer_with_status(status, extension.as_slice());
            }
            Report::FailedToStart { generation, .. }
            | Report::NeverReady { generation, .. }
            | Report::NotSpawned { generation } => {
                let reason = history.failure().unwrap_or_default();
                self.state.starting = None;
                self.state.activity = Some(format!(
                    "generation {generation} failed to start: {reason}, trying again"
                ));
                self.offer_with_status(status, &[]);
            }
            Report::Ready { .. } => {
                self.state.starting = None;
                self.state.activity = history.is_reloading().then(|| "reloading".to_owned());
            }
            Report::KillDelayed(_) => {
                self.offer_with_status(status, &[]);
            }
            Report::Extended { by, .. } => {
                self.outbox.offer(&[extend(by.saturating_add(MARGIN))]);
            }
            Report::DiedUnexpectedly {
                pid, status: how, ..
            } => {
                let how = describe_end(*how);
                self.state.activity = Some(format!("worker {pid} died ({how}), replacing it"));
                self.offer_with_status(status, &[]);
            }
            Report::Reloading(_) | Report::AutoRestart { .. } => {
                self.state.activity = Some("reloading".to_owned());
                self.send_reloading(status);
            }
            Report::GaveUp { kept: None, .. } => {
                let line = format!("gave up: {}", history.reason());
                self.outbox.offer(&[NotifyState::Status(&line)]);
            }
            Report::Settled => {
                self.state.activity = None;
                self.state.starting = None;
                self.post_with_status(status, &[NotifyState::Ready]);
            }
            Report::Stopping { alive, .. } => {
                let line = format!("stopping, waiting for {alive} workers");
                // Without a stop time-out, that of the unit is the only limit, and must not be extended.
                let stop = self.timeouts.stop.map(|stop| extend(stop + MARGIN));
                let mut states = vec![NotifyState::Stopping];
                states.extend(stop);
                states.push(NotifyState::Status(&line));
                self.post(&states);
                self.state.stopping = true;
                self.state.activity = Some(line);
            }
            _ => {}
        }
    }

    fn send_reloading(&mut self, status: Status<'_>) {
        // Both in one datagram: systemd compares the time with that of its own request.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => self.post_with_status(status, &[NotifyState::Reloading, time]),
            Err(e) => tracing::warn!("cannot read the clock for systemd: {}", DisplayIoError(&e)),
        }
    }

    /// Sends these and the status line in one datagram, now or as soon as systemd reads.
    fn post_with_status(&mut self, status: Status<'_>, states: &[NotifyState<'_>]) {
        let line = self.state.status_line(status);
        let mut states = states.to_vec();
        states.push(NotifyState::Status(&line));
        self.post(&states);
    }

    /// Sends these and the status line, if systemd reads. Otherwise a status line follows when it does.
    fn offer_with_status(&mut self, status: Status<'_>, states: &[NotifyState<'_>]) {
        let line = self.state.status_line(status);
        let mut states = states.to_vec();
        states.push(NotifyState::Status(&line));
        self.status_changed |= !self.outbox.offer(&states);
    }

    fn post(&mut self, states: &[NotifyState<'_>]) {
        if self.listening {
            self.outbox.post(states);
        }
    }
}

impl NotifierState {
    /// One line: the worker that serves, then what is under way or how the last reload ended; the
    /// `STATUS=` of a worker follows its name.
    fn status_line(&self, Status { current, history }: Status<'_>) -> String {
        let with_text = |line: String, text: Option<&str>| match text {
            Some(text) => format!("{line}: {text}"),
            None => line,
        };
        let of_worker = |line: String, generation| with_text(line, history.status_text(generation));
        let line = if self.stopping {
            let activity = self.activity.as_deref().unwrap_or("stopping");
            with_text(activity.to_owned(), history.newest_status_text())
        } else {
            let serving = match current {
                Some((generation, pid)) => {
                    let line = format!("generation {generation} serving (pid {pid})");
                    of_worker(line, generation)
                }
                None => "no worker is serving".to_owned(),
            };
            if let Some((generation, pid)) = self.starting {
                let line = format!("{serving}; starting generation {generation} (pid {pid})");
                of_worker(line, generation)
            } else if let Some(activity) = &self.activity {
                format!("{serving}; {activity}")
            } else if let Some(verdict) = history.last_reload() {
                format!("{serving}; {verdict}")
            } else {
                serving
            }
        };
        // A newline would begin another field.
        line.replace(char::is_control, " ")
    }
}

fn extend(by: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::StatusText;

    fn status(current: Option<(Generation, Pid)>, history: &History) -> Status<'_> {
        Status { current, history }
    }

    #[test]
    fn status_line_has_the_serving_worker_and_what_is_under_way() {
        let mut history = History::new();
        let mut state = NotifierState::default();
        assert_eq!(
            state.status_line(status(None, &history)),
            "no worker is serving"
        );
        for (generation, text) in [(1, "3\nclients"), (2, "loading")] {
            let text = text.to_owned();
            history.set_status_text(StatusText { generation, text });
        }
        state.starting = Some((2, 20));
        let line =
            "generation 1 serving (pid 10): 3 clients; starting generation 2 (pid 20): loading";
        assert_eq!(state.status_line(status(Some((1, 10)), &history)), line);
    }

    #[test]
    fn status_line_of_a_stop_has_the_newest_status_text() {
        let mut history = History::new();
        let (generation, text) = (2, "draining".to_owned());
        history.set_status_text(StatusText { generation, text });
        let state = NotifierState {
            stopping: true,
            activity: Some("stopping, waiting for 1 workers".to_owned()),
            ..NotifierState::default()
        };
        let line = "stopping, waiting for 1 workers: draining";
        assert_eq!(state.status_line(status(Some((2, 20)), &history)), line);
    }
}
