//! sd_notify(3): the truth about us, in systemd's words.
//!
//! READY once the first generation serves; RELOADING when a reload begins and READY on every way
//! out of it, failure included; STOPPING; a STATUS line for `systemctl status`; WATCHDOG from the
//! loop, so that a supervisor that hangs is noticed.

use std::fmt::Write;
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
use crate::sys::process::describe_status;
use crate::types::Pid;

/// More than any turn of ours takes: what is added to a span that systemd is asked to wait.
const MARGIN: Duration = Duration::from_secs(10);

/// The least time from one relayed STATUS of a worker's to the next: it may have much to say.
const STATUS_REST: Duration = Duration::from_millis(100);

/// Without READY=1 systemd would end the service when its time is up: when that could not be sent, it is
/// tried again, so often at most and with such a pause.
const READY_TRIES: u32 = 90;
const READY_PAUSE: Duration = Duration::from_secs(1);

/// Our line to the service manager. Without one, nothing happens.
pub(crate) struct Notifier {
    listening: bool,
    /// A ping is due this often: half of what systemd would put up with.
    ping_every: Option<Duration>,
    next_ping: Time,
    rules: Timeouts,
    /// A stop was asked for: nothing else is worth saying.
    stopping: bool,
    /// What is being done, if it is not a worker that is being waited for.
    doing: Option<String>,
    /// The worker that is being waited for.
    starting: Option<(Generation, Pid)>,
    /// A worker has said something that systemd has not been told, and until when that waits.
    stale: bool,
    next_status: Time,
    /// READY=1 has still to be sent: for so many tries.
    owes_ready: u32,
    /// RELOADING=1 could not be sent, without which READY=1 ends no reload for `Type=notify-reload`.
    owes_reloading: bool,
    /// Nothing could be sent lately, and that has been said.
    mute: bool,
}

/// How long what we do may take, as far as that is bounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From a worker's start to its readiness.
    pub(crate) start: Duration,
    /// Whether failed attempts come to an end.
    pub(crate) attempts_are_limited: bool,
    /// From the signal to SIGKILL.
    pub(crate) stop: Option<Duration>,
}

/// What systemd is being told about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedNotifier {
    stopping: bool,
    doing: Option<String>,
    starting: Option<(Generation, Pid)>,
    owes_ready: u32,
    owes_reloading: bool,
}

impl Notifier {
    pub(crate) fn new(rules: Timeouts, now: Time) -> Notifier {
        let listening = is_listening();
        let ping_every = sd_notify::watchdog_enabled()
            .filter(|_| listening)
            .map(|every| every / 2);
        Notifier {
            listening,
            ping_every: ping_every.filter(|every| !every.is_zero()),
            next_ping: now,
            rules,
            stopping: false,
            doing: None,
            starting: None,
            stale: false,
            next_status: now,
            owes_ready: 0,
            owes_reloading: false,
            mute: false,
        }
    }

    /// For the next program in this process.
    pub(crate) fn save(&self) -> SavedNotifier {
        SavedNotifier {
            stopping: self.stopping,
            doing: self.doing.clone(),
            starting: self.starting,
            owes_ready: self.owes_ready,
            owes_reloading: self.owes_reloading,
        }
    }

    /// What is under way; the status line is written anew.
    pub(crate) fn resume(&mut self, saved: SavedNotifier) {
        self.stopping = saved.stopping;
        self.doing = saved.doing;
        self.starting = saved.starting;
        self.owes_ready = saved.owes_ready;
        self.owes_reloading = saved.owes_reloading;
        self.stale = true;
    }

    /// After `--daemonize`, systemd has to be told which of its children is the service.
    pub(crate) fn announce_daemon(&mut self) {
        self.send(&[NotifyState::MainPid(std::process::id())]);
    }

    /// When the next ping is due, or the next word on what workers say.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let ping = self.ping_every.map(|_| self.next_ping);
        let unsaid = self.stale || self.owes_ready > 0;
        let status = (unsaid && self.listening).then_some(self.next_status);
        [ping, status].into_iter().flatten().min()
    }

    /// Does what is due of that; `current` is who serves now. But for READY, nothing of it is worth
    /// waiting for a systemd that does not read.
    pub(crate) fn tick(
        &mut self,
        now: Time,
        current: Option<(Generation, Pid)>,
        history: &History,
    ) {
        if let Some(every) = self.ping_every.filter(|_| self.next_ping <= now) {
            if has_room() {
                self.send(&[NotifyState::Watchdog]);
            }
            self.next_ping = now.saturating_add(every);
        }
        if self.listening && self.owes_ready > 0 && self.next_status <= now {
            self.next_status = now.saturating_add(READY_PAUSE);
            self.tell_ready(current, history);
        }
        if self.listening && self.stale && self.next_status <= now {
            self.next_status = now.saturating_add(STATUS_REST);
            if has_room() {
                self.stale = false;
                self.tell(current, history, &[]);
            }
        }
    }

    /// A worker has said something new, which the status line has not.
    pub(crate) fn is_stale(&mut self) {
        self.stale = true;
    }

    /// Passes on what has happened and stands in the history. `current` is who serves now.
    pub(crate) fn report(
        &mut self,
        report: &Report,
        current: Option<(Generation, Pid)>,
        history: &History,
    ) {
        if !self.listening {
            return;
        }
        match report {
            Report::Started { generation, pid } => {
                self.starting = Some((*generation, *pid));
                self.doing = None;
                // One try is always granted its time; many only if their number is bounded.
                if history.failure().is_none() || self.rules.attempts_are_limited {
                    let wait = extend(self.rules.start.saturating_add(MARGIN));
                    self.tell(current, history, &[wait]);
                } else {
                    self.tell(current, history, &[]);
                }
            }
            Report::FailedToStart { generation, .. }
            | Report::NeverReady { generation, .. }
            | Report::NotSpawned { generation } => {
                let how = history.failure().unwrap_or_default();
                self.starting = None;
                self.doing = Some(format!(
                    "generation {generation} failed to start: {how}, trying again"
                ));
                self.tell(current, history, &[]);
            }
            Report::Ready { .. } => {
                self.starting = None;
                self.doing = history.is_reloading().then(|| "reloading".to_owned());
            }
            Report::KillDelayed(_) => {
                self.tell(current, history, &[]);
            }
            Report::Extended { by, .. } => {
                self.send(&[extend(by.saturating_add(MARGIN))]);
            }
            Report::DiedUnexpectedly { pid, status, .. } => {
                let how = describe_status(*status);
                self.doing = Some(format!("worker {pid} died ({how}), replacing it"));
                self.tell(current, history, &[]);
            }
            Report::Reloading(_) | Report::AutoRestart { .. } => {
                self.doing = Some("reloading".to_owned());
                self.owes_ready = 0; // it is owed at the end of this
                self.tell_reloading(current, history);
            }
            Report::GaveUp { kept: None, .. } => {
                let status = format!("gave up: {}", history.reason());
                self.send(&[NotifyState::Status(&status)]);
            }
            Report::Settled => {
                self.doing = None;
                self.starting = None;
                self.tell_ready(current, history);
            }
            Report::Stopping { workers, .. } => {
                let status = format!("stopping, waiting for {} workers", workers.len());
                let (stopping, line) = (NotifyState::Stopping, NotifyState::Status(&status));
                // Without a stop time-out of ours, the unit's own is the only bound: it stays.
                match self.rules.stop {
                    Some(stop) => self.send(&[stopping, extend(stop + MARGIN), line]),
                    None => self.send(&[stopping, line]),
                };
                self.stopping = true;
                self.owes_ready = 0;
                self.doing = Some(status);
            }
            _ => {}
        }
    }

    fn tell_reloading(&mut self, current: Option<(Generation, Pid)>, history: &History) {
        // Both in one datagram: that is how systemd tells it from an older one.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => {
                let told = self.tell(current, history, &[NotifyState::Reloading, time]);
                self.owes_reloading = !told;
            }
            Err(e) => tracing::warn!("cannot read the clock for systemd: {}", DisplayIoError(&e)),
        }
    }

    fn tell_ready(&mut self, current: Option<(Generation, Pid)>, history: &History) {
        if self.owes_reloading {
            self.tell_reloading(current, history);
        }
        let told = self.tell(current, history, &[NotifyState::Ready]);
        self.owes_ready = match self.owes_ready {
            _ if told => 0,
            0 => READY_TRIES,
            tries => tries - 1,
        };
    }

    /// Sends these, and the line that says how things are; says whether that went well.
    fn tell(
        &mut self,
        current: Option<(Generation, Pid)>,
        history: &History,
        states: &[NotifyState<'_>],
    ) -> bool {
        if !self.listening {
            return true;
        }
        let status = self.status(current, history);
        let mut states = states.to_vec();
        states.push(NotifyState::Status(&status));
        self.send(&states)
    }

    /// One line: who serves, and what is being done or how the last reload ended; each with its own
    /// words behind it.
    fn status(&self, current: Option<(Generation, Pid)>, history: &History) -> String {
        if self.stopping {
            let doing = self.doing.as_deref().unwrap_or("stopping");
            let words = history.latest_words();
            let words = words.map(|words| format!(": {words}")).unwrap_or_default();
            return (doing.to_owned() + &words).replace(char::is_control, " ");
        }
        let mut line = match current {
            Some((generation, pid)) => format!("generation {generation} serving (pid {pid})"),
            None => "no worker is serving".to_owned(),
        };
        let mut add = |generation: Option<Generation>, text: &str| {
            line.push_str(text);
            if let Some(words) = generation.and_then(|g| history.words_of(g)) {
                let _ = write!(line, ": {words}");
            }
        };
        add(current.map(|(generation, _)| generation), "");
        if let Some((generation, pid)) = self.starting {
            let doing = format!("; starting generation {generation} (pid {pid})");
            add(Some(generation), &doing);
        } else if let Some(doing) = &self.doing {
            add(None, &format!("; {doing}"));
        } else if let Some(verdict) = history.last_reload() {
            add(None, &format!("; {verdict}"));
        }
        // A newline would begin another field.
        line.replace(char::is_control, " ")
    }

    fn send(&mut self, states: &[NotifyState<'_>]) -> bool {
        if !self.listening {
            return true;
        }
        let sent = sd_notify::notify(states);
        let was_mute = std::mem::replace(&mut self.mute, sent.is_err());
        if let (Err(e), false) = (&sent, was_mute) {
            tracing::warn!("failed to notify systemd: {}", DisplayIoError(e));
        }
        sent.is_ok()
    }
}

/// Whether systemd's end would take one more message at once.
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
    room().unwrap_or(true) // sending will say what is wrong
}

fn extend(by: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))
}
