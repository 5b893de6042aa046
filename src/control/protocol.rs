//! What can be asked over the control socket, and what the answers are made of. The description that
//! clients get is `org.serverstarter.Supervisor.varlink`, beside this file; the types here are its.

use serde::{Deserialize, Serialize};

use crate::history::{Counters, Verdict};
use crate::machine::{Generation, SupervisorState, Until, WorkerState};
use crate::types::Pid;

/// The interface's name.
pub(super) const NAME: &str = "org.serverstarter.Supervisor";

/// Its description, in Varlink's own language.
pub(super) const DESCRIPTION: &str = include_str!("org.serverstarter.Supervisor.varlink");

/// A question, or an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Status,
    Reload(Until),
    Stop,
    Upgrade,
}

/// A call that is answered when something has happened: what the client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Awaited {
    Reload,
    Stop,
    Upgrade,
}

impl Method {
    /// `None` if the call is answered at once.
    pub(super) fn awaited(self) -> Option<Awaited> {
        match self {
            Method::Status => None,
            Method::Reload(_) => Some(Awaited::Reload),
            Method::Stop => Some(Awaited::Stop),
            Method::Upgrade => Some(Awaited::Upgrade),
        }
    }
}

/// The answer to Status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) since: u64,
    pub(crate) state: SupervisorState,
    pub(crate) generation: Option<Generation>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) sockets: Vec<Socket>,
    #[serde(rename = "lastReload")]
    pub(crate) last_reload: Option<LastReload>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) generation: Generation,
    pub(crate) pid: Pid,
    pub(crate) state: WorkerState,
    pub(crate) age: f64,
    #[serde(rename = "readyFor")]
    pub(crate) ready_for: Option<f64>,
    #[serde(default)]
    pub(crate) adopted: bool,
    pub(crate) says: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Socket {
    pub(crate) key: String,
    pub(crate) fd: i32,
    pub(crate) name: String,
    pub(crate) inherited: bool,
    pub(crate) kept: bool,
}

/// The verdict on the last reload; `Verdict` in the description.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LastReload {
    pub(crate) succeeded: bool,
    pub(crate) at: u64,
    pub(crate) generation: Option<Generation>,
    pub(crate) reason: Option<String>,
}

impl From<&Verdict> for LastReload {
    fn from(verdict: &Verdict) -> LastReload {
        LastReload {
            succeeded: verdict.failure.is_none(),
            at: verdict.at,
            generation: verdict.generation,
            reason: verdict.failure.clone(),
        }
    }
}

/// A step of a reload, or its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) step: Step,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<Generation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<Pid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draining: Option<Vec<Pid>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// What is under way began before.
    #[default]
    Waiting,
    Checking,
    Started,
    AttemptFailed,
    Ready,
    Replaced,
    Draining,
    Drained,
}

impl Progress {
    pub(crate) fn at(step: Step) -> Progress {
        Progress {
            step,
            ..Progress::default()
        }
    }
}

/// Who has still to leave before a stop is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Leaving {
    pub(crate) workers: Vec<Pid>,
}

/// Which release has made way for which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    ReloadFailed {
        reason: String,
        kept: Option<Generation>,
        /// Where what was written can be read.
        log: Option<String>,
    },
    UpgradeFailed {
        reason: String,
    },
    Stopping,
}
