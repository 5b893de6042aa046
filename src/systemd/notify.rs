//! sd_notify(3): the truth about us, in systemd's words.
//!
//! READY once the first generation serves; RELOADING when a reload begins and READY on every way
//! out of it, failure included; STOPPING; a STATUS line for `systemctl status`; WATCHDOG from the
//! loop, so that a supervisor that hangs is noticed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use super::is_listening;
use crate::error::Why;
use crate::machine::{Generation, Report, Time};
use crate::sys;
use crate::sys::clock::local_time;
use crate::sys::process::describe_status;
use crate::units::{Pid, Seconds};
use crate::worker::Saying;

/// More than any turn of ours takes: what is added to a span that systemd is asked to wait.
const MARGIN: Duration = Duration::from_secs(10);

/// The least time from one relayed STATUS of a worker's to the next: it may have much to say.
const STATUS_REST: Duration = Duration::from_millis(100);

/// Our line to the service manager. Without one, nothing happens.
pub(crate) struct Notifier {
    listening: bool,
    /// A ping is due this often: half of what systemd would put up with.
    ping_every: Option<Duration>,
    next_ping: Time,
    rules: Patience,
    /// How the last attempt failed.
    failure: Option<String>,
    /// How the last reload ended.
    verdict: Option<String>,
    reloading: bool,
    /// A stop was asked for: nothing else is worth saying.
    stopping: bool,
    /// What is being done, if it is not a worker that is being waited for.
    doing: Option<String>,
    /// The worker that is being waited for.
    starting: Option<(Generation, Pid)>,
    /// A worker has said something that systemd has not been told, and until when that waits.
    stale: bool,
    next_status: Time,
    /// The latest words of each worker, for people.
    sayings: BTreeMap<Generation, String>,
}

/// How long what we do may take, as far as that is bounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From a worker's start to its readiness.
    pub(crate) start: Duration,
    /// Whether failed attempts come to an end.
    pub(crate) attempts_are_limited: bool,
    /// From the signal to SIGKILL.
    pub(crate) stop: Option<Duration>,
}

impl Notifier {
    pub(crate) fn new(rules: Patience, now: Time) -> Notifier {
        let listening = is_listening();
        let ping_every = sd_notify::watchdog_enabled()
            .filter(|_| listening)
            .map(|every| every / 2);
        Notifier {
            listening,
            ping_every: ping_every.filter(|every| !every.is_zero()),
            next_ping: now,
            rules,
            failure: None,
            verdict: None,
            reloading: false,
            stopping: false,
            doing: None,
            starting: None,
            stale: false,
            next_status: now,
            sayings: BTreeMap::new(),
        }
    }

    /// After `--daemonize`, systemd has to be told which of its children is the service.
    pub(crate) fn announce_daemon(&self) {
        self.send(&[NotifyState::MainPid(std::process::id())]);
    }

    /// When the next ping is due, or the next word on what workers say.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let ping = self.ping_every.map(|_| self.next_ping);
        let status = (self.stale && self.listening).then_some(self.next_status);
        [ping, status].into_iter().flatten().min()
    }

    /// Does what is due of that; `current` is who serves now. Neither is worth waiting for a systemd
    /// that does not read.
    pub(crate) fn tick(&mut self, now: Time, current: Option<(Generation, Pid)>) {
        if let Some(every) = self.ping_every.filter(|_| self.next_ping <= now) {
            if has_room() {
                self.send(&[NotifyState::Watchdog]);
            }
            self.next_ping = now.saturating_add(every);
        }
        if self.listening && self.stale && self.next_status <= now {
            self.next_status = now.saturating_add(STATUS_REST);
            if has_room() {
                self.stale = false;
                self.tell(current, &[]);
            }
        }
    }

    /// Why an attempt gave no process; told before the machine reports it.
    pub(crate) fn attempt_failed(&mut self, reason: &str) {
        self.failure = Some(reason.to_owned());
    }

    /// A worker's own words stand behind its name from now on.
    pub(crate) fn says(&mut self, saying: Saying) {
        let Saying { generation, text } = saying;
        tracing::debug!(generation, "generation {generation} says: {text}");
        self.stale |= self.sayings.insert(generation, text.clone()).as_ref() != Some(&text);
    }

    /// What a worker has said last of itself.
    pub(crate) fn words_of(&self, generation: Generation) -> Option<&str> {
        self.sayings.get(&generation).map(String::as_str)
    }

    /// A worker has gone, and its words with it.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.sayings.remove(&generation);
    }

    /// Passes on what has happened. `current` is who serves now.
    pub(crate) fn report(&mut self, report: &Report, current: Option<(Generation, Pid)>) {
        if !self.listening {
            return;
        }
        match report {
            Report::Started { generation, pid } => {
                self.starting = Some((*generation, *pid));
                self.doing = None;
                // One try is always granted its time; many only if their number is bounded.
                if self.failure.is_none() || self.rules.attempts_are_limited {
                    let wait = extend(self.rules.start.saturating_add(MARGIN));
                    self.tell(current, &[wait]);
                } else {
                    self.tell(current, &[]);
                }
            }
            Report::FailedToStart {
                generation, status, ..
            } => {
                self.failed(*generation, describe_status(*status), current);
            }
            Report::NeverReady {
                generation, after, ..
            } => {
                let how = format!("never said READY=1 in {} s", Seconds(*after));
                self.failed(*generation, how, current);
            }
            Report::NotSpawned { generation } => {
                let how = self.failure.take();
                let how = how.unwrap_or_else(|| "no process".to_owned());
                self.failed(*generation, how, current);
            }
            Report::Ready { .. } => {
                self.starting = None;
                self.doing = self.reloading.then(|| "reloading".to_owned());
            }
            Report::KillDelayed(_) => self.tell(current, &[]),
            Report::Extended { by, .. } => self.send(&[extend(by.saturating_add(MARGIN))]),
            Report::DiedUnexpectedly { pid, status, .. } => {
                let how = describe_status(*status);
                self.doing = Some(format!("worker {pid} died ({how}), replacing it"));
                self.tell(current, &[]);
            }
            Report::Reloading | Report::AutoRestart { .. } => {
                self.reloading = true;
                self.failure = None;
                self.doing = Some("reloading".to_owned());
                // Both in one datagram: that is how systemd tells it from an older one.
                match NotifyState::monotonic_usec_now() {
                    Ok(time) => self.tell(current, &[NotifyState::Reloading, time]),
                    Err(e) => tracing::warn!("cannot read the clock for systemd: {}", Why(&e)),
                }
            }
            Report::GaveUp {
                kept: Some(generation),
                ..
            } => {
                let how = self.failure.as_deref().unwrap_or("it did not start");
                let time = local_time();
                self.verdict = Some(format!(
                    "reload at {time} failed: {how}, generation {generation} kept"
                ));
                self.reloading = false;
            }
            Report::GaveUp { kept: None, .. } => {
                let how = self.failure.as_deref().unwrap_or("it did not start");
                self.send(&[NotifyState::Status(&format!("gave up: {how}"))]);
            }
            Report::Settled => {
                if std::mem::take(&mut self.reloading) {
                    self.verdict = Some(format!("reload at {} succeeded", local_time()));
                }
                self.failure = None;
                self.doing = None;
                self.starting = None;
                self.tell(current, &[NotifyState::Ready]);
            }
            Report::Stopping { workers, .. } => {
                let status = format!("stopping, waiting for {} workers", workers.len());
                let (stopping, line) = (NotifyState::Stopping, NotifyState::Status(&status));
                // Without a stop time-out of ours, the unit's own is the only bound: it stays.
                match self.rules.stop {
                    Some(stop) => self.send(&[stopping, extend(stop + MARGIN), line]),
                    None => self.send(&[stopping, line]),
                }
                self.stopping = true;
                self.doing = Some(status);
            }
            _ => {}
        }
    }

    fn failed(
        &mut self,
        generation: Generation,
        mut how: String,
        current: Option<(Generation, Pid)>,
    ) {
        if let Some(words) = self.sayings.get(&generation) {
            let _ = write!(how, " (it said: {words})");
        }
        self.starting = None;
        self.doing = Some(format!(
            "generation {generation} failed to start: {how}, trying again"
        ));
        self.failure = Some(how);
        self.tell(current, &[]);
    }

    /// Sends these, and the line that says how things are.
    fn tell(&self, current: Option<(Generation, Pid)>, states: &[NotifyState<'_>]) {
        if !self.listening {
            return;
        }
        let status = self.status(current);
        let mut states = states.to_vec();
        states.push(NotifyState::Status(&status));
        self.send(&states);
    }

    /// One line: who serves, and what is being done or how the last reload ended; each with its own
    /// words behind it.
    fn status(&self, current: Option<(Generation, Pid)>) -> String {
        if self.stopping {
            let doing = self.doing.as_deref().unwrap_or("stopping");
            let words = self.sayings.values().next_back();
            let words = words.map(|words| format!(": {words}")).unwrap_or_default();
            return (doing.to_owned() + &words).replace(char::is_control, " ");
        }
        let mut line = match current {
            Some((generation, pid)) => format!("generation {generation} serving (pid {pid})"),
            None => "no worker is serving".to_owned(),
        };
        let mut add = |generation: Option<Generation>, text: &str| {
            line.push_str(text);
            if let Some(words) = generation.and_then(|g| self.sayings.get(&g)) {
                let _ = write!(line, ": {words}");
            }
        };
        add(current.map(|(generation, _)| generation), "");
        if let Some((generation, pid)) = self.starting {
            let doing = format!("; starting generation {generation} (pid {pid})");
            add(Some(generation), &doing);
        } else if let Some(more) = self.doing.as_ref().or(self.verdict.as_ref()) {
            add(None, &format!("; {more}"));
        }
        // A newline would begin another field.
        line.replace(char::is_control, " ")
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if !self.listening {
            return;
        }
        if let Err(e) = sd_notify::notify(states) {
            tracing::warn!("failed to notify systemd: {}", Why(&e));
        }
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
