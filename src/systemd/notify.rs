//! Notifications to systemd, sd_notify(3).
//!
//! `READY=1` once the first generation serves; `RELOADING=1` when a reload begins, and `READY=1` whenever
//! it ends, in failure, too; `STOPPING=1`; a `STATUS=` line for `systemctl status`; `WATCHDOG=1` from the
//! loop, so that a supervisor that hangs is noticed.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use super::is_listening;
use crate::error::DisplayIoError;
use crate::history::History;
use crate::machine::{Generation, Report, Time};
use crate::sys;
use crate::sys::process::describe_end;
use crate::types::Pid;

/// Added to each time that systemd is asked to wait: longer than any iteration of the loop.
const MARGIN: Duration = Duration::from_secs(10);

/// The least time between two status lines that only relay a worker's `STATUS=`: a worker may send many.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// How often and how soon `READY=1` is sent again if it could not be sent. Without it systemd would end the
/// service when the start time-out is over.
const READY_TRIES: u32 = 90;
const READY_RETRY: Duration = Duration::from_secs(1);

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
    /// The last notification could not be sent; already logged.
    send_failed: bool,
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
    /// How often to try again to send `READY=1`. 0 if that was sent.
    ready_tries: u32,
    /// `RELOADING=1` could not be sent, without which `READY=1` ends no reload of `Type=notify-reload`.
    reloading_unsent: bool,
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
            send_failed: false,
        }
    }

    /// The state that the next program in this process resumes.
    pub(crate) fn state(&self) -> &NotifierState {
        &self.state
    }

    /// Goes on with the state of the program before. The status line is sent again.
    pub(crate) fn resume(&mut self, state: NotifierState) {
        self.state = state;
        self.status_changed = true;
    }

    /// Tells systemd which process is the service, after `--daemonize`.
    pub(crate) fn announce_daemon(&mut self) {
        self.send(&[NotifyState::MainPid(std::process::id())]);
    }

    /// When [`tick`](Notifier::tick) has something to send.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let ping = self.ping_every.map(|_| self.next_ping);
        let unsent = self.status_changed || self.state.ready_tries > 0;
        let status = (unsent && self.listening).then_some(self.next_status);
        [ping, status].into_iter().flatten().min()
    }

    /// Sends what is due. `READY=1` waits for a service manager that does not read; pings and status lines
    /// are left out instead.
    pub(crate) fn tick(&mut self, now: Time, status: Status<'_>) {
        if let Some(every) = self.ping_every.filter(|_| self.next_ping <= now) {
            if has_room() {
                self.send(&[NotifyState::Watchdog]);
            }
            self.next_ping = now.saturating_add(every);
        }
        if self.listening && self.state.ready_tries > 0 && self.next_status <= now {
            self.next_status = now.saturating_add(READY_RETRY);
            self.send_ready(status);
        }
        if self.listening && self.status_changed && self.next_status <= now {
            self.next_status = now.saturating_add(STATUS_INTERVAL);
            if has_room() {
                self.status_changed = false;
                self.send_with_status(status, &[]);
            }
        }
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
                self.send_with_status(status, extension.as_slice());
            }
            Report::FailedToStart { generation, .. }
            | Report::NeverReady { generation, .. }
            | Report::NotSpawned { generation } => {
                let reason = history.failure().unwrap_or_default();
                self.state.starting = None;
                self.state.activity = Some(format!(
                    "generation {generation} failed to start: {reason}, trying again"
                ));
                self.send_with_status(status, &[]);
            }
            Report::Ready { .. } => {
                self.state.starting = None;
                self.state.activity = history.is_reloading().then(|| "reloading".to_owned());
            }
            Report::KillDelayed(_) => {
                self.send_with_status(status, &[]);
            }
            Report::Extended { by, .. } => {
                self.send(&[extend(by.saturating_add(MARGIN))]);
            }
            Report::DiedUnexpectedly {
                pid, status: how, ..
            } => {
                let how = describe_end(*how);
                self.state.activity = Some(format!("worker {pid} died ({how}), replacing it"));
                self.send_with_status(status, &[]);
            }
            Report::Reloading(_) | Report::AutoRestart { .. } => {
                self.state.activity = Some("reloading".to_owned());
                self.state.ready_tries = 0; // the end of this reload sends it
                self.send_reloading(status);
            }
            Report::GaveUp { kept: None, .. } => {
                let line = format!("gave up: {}", history.reason());
                self.send(&[NotifyState::Status(&line)]);
            }
            Report::Settled => {
                self.state.activity = None;
                self.state.starting = None;
                self.send_ready(status);
            }
            Report::Stopping { alive, .. } => {
                let line = format!("stopping, waiting for {alive} workers");
                // Without a stop time-out, that of the unit is the only limit, and must not be extended.
                let stop = self.timeouts.stop.map(|stop| extend(stop + MARGIN));
                let mut states = vec![NotifyState::Stopping];
                states.extend(stop);
                states.push(NotifyState::Status(&line));
                self.send(&states);
                self.state.stopping = true;
                self.state.ready_tries = 0;
                self.state.activity = Some(line);
            }
            _ => {}
        }
    }

    fn send_reloading(&mut self, status: Status<'_>) {
        // Both in one datagram: systemd compares the time with that of its own request.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => {
                let sent = self.send_with_status(status, &[NotifyState::Reloading, time]);
                self.state.reloading_unsent = !sent;
            }
            Err(e) => tracing::warn!("cannot read the clock for systemd: {}", DisplayIoError(&e)),
        }
    }

    fn send_ready(&mut self, status: Status<'_>) {
        if self.state.reloading_unsent {
            self.send_reloading(status);
        }
        let sent = self.send_with_status(status, &[NotifyState::Ready]);
        self.state.ready_tries = match self.state.ready_tries {
            _ if sent => 0,
            0 => READY_TRIES,
            tries => tries - 1,
        };
    }

    /// Sends these and the status line in one datagram. Returns whether that succeeded.
    fn send_with_status(&mut self, status: Status<'_>, states: &[NotifyState<'_>]) -> bool {
        if !self.listening {
            return true;
        }
        let line = self.state.status_line(status);
        let mut states = states.to_vec();
        states.push(NotifyState::Status(&line));
        self.send(&states)
    }

    fn send(&mut self, states: &[NotifyState<'_>]) -> bool {
        if !self.listening {
            return true;
        }
        let sent = sd_notify::notify(states);
        let failed_before = std::mem::replace(&mut self.send_failed, sent.is_err());
        if let (Err(e), false) = (&sent, failed_before) {
            let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
            tracing::warn!(
                "failed to notify systemd: {}: {}{}",
                socket.to_string_lossy(),
                DisplayIoError(e),
                hint(e)
            );
        }
        sent.is_ok()
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

/// The settings of a unit that keep the service from its notification socket.
fn hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EACCES | libc::ECONNREFUSED) => {
            " (RootDirectory=, InaccessiblePaths= or TemporaryFileSystem= in the unit may hide it)"
        }
        _ => "",
    }
}

/// Whether systemd's socket takes one more datagram at once.
fn has_room() -> bool {
    let room = || -> std::io::Result<bool> {
        let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        sys::datagram::takes_more(&socket)
    };
    room().unwrap_or(true) // the error comes again when it is sent, and is logged then
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
