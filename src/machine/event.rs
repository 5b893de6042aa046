//! What goes into the machine: the events.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rules::LiveSettings;
use crate::types::{Pid, Signal};

/// The number of a generation: 1 for the first, one more for every attempt, never used twice.
pub type Generation = u64;

/// Monotonic time since an origin that the caller chooses. The machine has no clock of its own.
pub type Time = Duration;

/// Something that has happened outside, given to the machine in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// SIGHUP: a new generation is wanted.
    Hup,
    /// A listening socket was replaced, and the current workers do not have the new one: a new
    /// generation is wanted.
    SocketReplaced,
    /// A client wants a new generation and waits for the outcome.
    ReloadRequested(Request),
    /// The client that made this request disconnected. It gets no more answers; the reload goes on.
    RequesterGone(RequestId),
    /// The check that [`Action::Check`](super::Action::Check) started has succeeded.
    CheckPassed,
    /// The check has failed, or could not be started.
    CheckFailed,
    /// TERM, INT or QUIT: stop all workers, then exit.
    Stop(Signal),
    /// The last [`Action::Spawn`](super::Action::Spawn) started this process.
    Spawned(Pid),
    /// The last [`Action::Spawn`](super::Action::Spawn) started no process.
    SpawnFailed(SpawnFailure),
    /// A notification from the worker of this generation. Ignored if that worker is dead.
    Notified(Generation, Notification),
    /// A child has ended, with this raw wait status. Ignored unless it is a worker.
    Exited(Pid, i32),
    /// An adopted worker has ended. Its parent has got the wait status. This event may come between
    /// [`Action::Spawn`](super::Action::Spawn) and its answer, if the new process has the same number.
    AdoptedExited(Pid),
    /// The settings that may change while the supervisor runs have been read again.
    SettingsChanged(LiveSettings),
    /// The supervisor has not run for a while: SIGSTOP, a frozen cgroup, a paused virtual machine. Its
    /// workers have not run either, so every period begins anew.
    Resumed,
    /// Time has passed. Due at [`Machine::deadline`](super::Machine::deadline) at the latest.
    Tick,
}

/// A client's request for a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the caller, and never used twice.
    pub id: RequestId,
    /// What the last answer waits for.
    pub until: Until,
}

/// Names a [`Request`].
pub type RequestId = u64;

/// What a client that requested a reload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Until {
    /// The new generation has taken over, and the old ones have been told to leave.
    Ready,
    /// The old generations are dead, too.
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

/// Where a reload comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// SIGHUP.
    Hup,
    /// A [`Request`].
    Request,
    /// [`Event::SocketReplaced`].
    SocketReplaced,
}

/// What a worker says by its notification socket, as far as it matters here; sd_notify(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notification {
    /// `READY=1`: the worker serves.
    Ready,
    /// `EXTEND_TIMEOUT_USEC=`: the worker is still starting, or still draining, and asks for this
    /// much time from now on.
    Extend(Duration),
    /// `WATCHDOG=1`: the worker is alive and well.
    Ping,
    /// `WATCHDOG=trigger`: the worker has found itself stuck.
    Stuck,
}

/// Why a spawn started no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpawnFailure {
    /// The program cannot be run as it stands (it does not exist, is not executable, its
    /// directory is gone). The very first start is not tried again then.
    Permanent,
    /// The system has no resources at the moment (EAGAIN, ENOMEM, EMFILE, …).
    Transient,
}
