//! What goes into the machine, and what comes out of it.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Pid, Signal};

/// The number of a generation: 1 for the first, one more for every attempt, never used twice.
pub type Generation = u64;

/// Monotonic time since an origin that the caller chooses. The machine has no clock of its own.
pub type Time = Duration;

/// Batch from outside, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// SIGHUP: a new generation is wanted.
    Hup,
    /// A listening socket had to be replaced: the current workers do not have the new one, and a new
    /// generation is wanted.
    SocketReplaced,
    /// The same, by somebody who waits for what becomes of it.
    ReloadRequested(Request),
    /// That somebody has gone, and is to be told nothing more. The reload goes on.
    RequesterGone(RequestId),
    /// The check that [`Action::Check`] began has found nothing wrong.
    CheckPassed,
    /// It has found something, or could not be made.
    CheckFailed,
    /// TERM, INT or QUIT: everything is to end.
    Stop(Signal),
    /// The last [`Action::Spawn`] gave this process.
    Spawned(Pid),
    /// The last [`Action::Spawn`] gave no process.
    SpawnFailed(SpawnFailure),
    /// The worker of this generation has said something by its notification socket. A generation
    /// that has no worker any more is ignored.
    Notified(Generation, Notification),
    /// A worker has ended, with this raw wait status. A pid that is none of ours is ignored.
    Exited(Pid, i32),
    /// Rules that may change while the supervisor runs have been read anew.
    SettingsChanged(LiveSettings),
    /// Time has passed; at the latest at [`Machine::deadline`](super::Machine::deadline).
    Tick,
}

/// Somebody's request for a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whose it is; the caller's to choose, and not to use twice.
    pub id: RequestId,
    /// What the last answer is to wait for.
    pub until: Until,
}

/// Names a [`Request`].
pub type RequestId = u64;

/// What somebody who asked for a new generation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Until {
    /// A new generation has taken over, and the old ones have been told to leave.
    Ready,
    /// The old ones have gone, too.
    #[default]
    Drained,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Until, String> {
        match text {
            "ready" => Ok(Until::Ready),
            "drained" => Ok(Until::Drained),
            _ => Err("'ready' or 'drained' is wanted".to_owned()),
        }
    }
}

/// What has become of a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// This generation has taken over. The last answer with [`Until::Ready`].
    Replaced(Generation),
    /// All before this generation have gone. The last answer with [`Until::Drained`].
    Drained(Generation),
    /// The reload was given up.
    Failed {
        /// The generation that keeps serving, if there is one.
        kept: Option<Generation>,
    },
    /// Everything is being stopped.
    Stopped,
}

/// Who wants a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// SIGHUP.
    Hup,
    /// A [`Request`].
    Request,
    /// [`Event::SocketReplaced`].
    SocketReplaced,
}

/// What a worker may say that matters here, sd_notify(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notification {
    /// `READY=1`: it serves.
    Ready,
    /// `EXTEND_TIMEOUT_USEC=`: it is busy starting, or leaving, and wants this long from now.
    Extend(Duration),
    /// `WATCHDOG=1`: it is not stuck.
    Ping,
    /// `WATCHDOG=trigger`: it is beyond help.
    Stuck,
}

/// What makes a new worker count as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Readiness {
    /// Its word ([`Notification::Ready`]), or to live for the interval, whichever comes first.
    #[default]
    Auto,
    /// To live for the interval.
    Alive,
    /// Its word alone. Without it the attempt fails after [`Rules::start_timeout`].
    Notify,
}

impl FromStr for Readiness {
    type Err = String;

    fn from_str(text: &str) -> Result<Readiness, String> {
        match text {
            "auto" => Ok(Readiness::Auto),
            "alive" => Ok(Readiness::Alive),
            "notify" => Ok(Readiness::Notify),
            _ => Err("'auto', 'alive' or 'notify' is wanted".to_owned()),
        }
    }
}

/// What the supervisor is about, for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nobody serves yet, or nobody does any more.
    Starting,
    /// Nothing is under way.
    Serving,
    /// A new generation is on its way.
    Reloading,
    /// Everything has been told to end.
    Stopping,
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// It does not count as started yet.
    Starting,
    /// It serves.
    Ready,
    /// It has been told to leave.
    Draining,
    /// It was not ready in time, and has been told to leave.
    GivenUp,
}

/// Why there is no new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpawnFailure {
    /// The program cannot be run as it stands (it does not exist, is not executable, its
    /// directory is gone). At the very first start there is no point in trying again.
    Permanent,
    /// The system could not, just now (EAGAIN, ENOMEM, EMFILE, …).
    Transient,
}

/// What the caller has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start a worker of this generation and say [`Event::Spawned`] or [`Event::SpawnFailed`]
    /// before any other event.
    Spawn(Generation),
    /// Start the check that comes before a reload, which would be to this generation, and say
    /// [`Event::CheckPassed`] or [`Event::CheckFailed`] when it has ended.
    Check(Generation),
    /// Its result is not wanted any more: end it.
    EndCheck,
    /// Reply to this request: what became of it.
    Answer(Request, Answer),
    /// Send the signal to the worker. It has not been reaped, so the pid is still its own.
    Signal(Pid, Signal),
    /// The list of live workers has changed: write it to the status file.
    PublishStatus,
    /// Tell whoever wants to know.
    Report(Report),
    /// The end: leave the loop with this exit status.
    Exit(u8),
}

/// What has happened, for the log (and whoever else is told).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    /// A worker process exists; it still has to become ready.
    Started {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
    },
    /// The newest worker counts as started and is the current one from now on.
    Ready {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
    },
    /// A worker died before it was ready.
    FailedToStart {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status.
        status: i32,
    },
    /// A worker has not said that it is ready, and its time is up: it is stopped.
    NeverReady {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it had.
        after: Duration,
    },
    /// A worker has asked for so much more time, from now on, and has got it.
    Extended {
        /// Its generation.
        generation: Generation,
        /// What it asked for.
        by: Duration,
    },
    /// A ready worker has not pinged for so long, or has said that it is stuck: it gets SIGABRT.
    Stuck {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it was silent; none: it has said so itself.
        silent: Option<Duration>,
    },
    /// An attempt gave no process; the reason has been logged where it was seen.
    NotSpawned {
        /// The number that the attempt used up.
        generation: Generation,
    },
    /// So many attempts in a row have failed that no more are made.
    GaveUp {
        /// How many.
        attempts: u32,
        /// The generation that keeps serving, if there is one.
        kept: Option<Generation>,
    },
    /// The current worker died, unasked.
    DiedUnexpectedly {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status.
        status: i32,
        /// The pause before its replacement is started.
        pause: Duration,
    },
    /// A worker died that is not the current one, or whose replacement is being started.
    OldDied {
        /// It was serving: now nobody is, until the new one is ready.
        was_current: bool,
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status.
        status: i32,
    },
    /// A reload begins.
    Reloading(Trigger),
    /// A reload is wanted while a start is under way: another one follows it.
    ReloadQueued(Trigger),
    /// The check before a reload has found something wrong: no worker is started.
    CheckFailed {
        /// It was still running when its time, this long, was up.
        timed_out: Option<Duration>,
        /// The generation that keeps serving.
        kept: Option<Generation>,
    },
    /// The auto-restart interval has passed.
    AutoRestart {
        /// The interval in force.
        interval: Duration,
        /// Old workers are still alive, but twice the interval has passed.
        forced: bool,
    },
    /// A reload has succeeded: these old workers are about to be signalled.
    Replacing {
        /// The signal they will get.
        signal: Signal,
        /// In numeric order.
        old: Vec<Pid>,
    },
    /// The old workers live on for this long.
    KillDelayed(Duration),
    /// The old workers are signalled now.
    KillingOld,
    /// Nothing is under way any more: whatever was, has succeeded or been given up.
    Settled,
    /// A stop was asked for: these workers are signalled.
    Stopping {
        /// What the supervisor got; none when it stops because it gave up.
        received: Option<Signal>,
        /// What the workers get.
        signal: Signal,
        /// In numeric order.
        workers: Vec<Pid>,
    },
    /// A worker died after a stop was asked for, or after it was given up.
    StoppedWorker {
        /// Its process.
        pid: Pid,
        /// Raw wait status.
        status: i32,
    },
    /// A worker has outlived its time to leave and gets SIGKILL.
    Overdue {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it had.
        after: Duration,
    },
    /// No worker is left and none will be started.
    Exiting,
}

/// The rules the machine plays by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How long a new worker must live to count as started, and the least time from one attempt
    /// to the next.
    pub interval: Duration,
    /// What makes it count as started.
    pub readiness: Readiness,
    /// With [`Readiness::Notify`]: how long a new worker has to say that it is ready.
    pub start_timeout: Duration,
    /// A ready worker has to ping at least this often; none: it need not.
    pub worker_watchdog: Option<Duration>,
    /// Sent to old workers after a reload.
    pub signal_on_hup: Signal,
    /// Sent to all workers on SIGTERM.
    pub signal_on_term: Signal,
    /// A reload is given up after this many failed attempts; 0: never.
    pub start_attempts: u32,
    /// The same for the very first start.
    pub first_start_attempts: u32,
    /// A reload begins with a check, which may take this long; none: it does not.
    pub check: Option<Duration>,
    /// SIGKILL for a worker that has not left this long after its first signal; none: never,
    /// unless it was never ready, or is stuck.
    pub stop_timeout: Option<Duration>,
    /// What may change while the supervisor runs.
    pub live_settings: LiveSettings,
}

/// The rules that are read anew (from the envdir) while the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LiveSettings {
    /// A new generation this long after the last one's readiness; none: only when asked.
    pub auto_restart: Option<Duration>,
    /// From the new generation's readiness to the signal to the old ones.
    pub kill_old_delay: Duration,
}
