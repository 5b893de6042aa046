//! The rules that the machine follows, from the command line and the envdir.

use std::str::FromStr;
use std::time::Duration;

use crate::types::Signal;

/// The rules that the machine follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How long a new worker must live to count as started, and the least time from one attempt
    /// to the next.
    pub interval: Duration,
    /// What makes a new worker count as started.
    pub readiness: Readiness,
    /// How long a new worker may take to say that it is ready, with [`Readiness::Notify`].
    pub start_timeout: Duration,
    /// The longest time from one watchdog ping of a ready worker to the next; `None` if workers need
    /// not ping.
    pub worker_watchdog: Option<Duration>,
    /// The signal for old workers after a reload.
    pub signal_on_hup: Signal,
    /// The signal for all workers on SIGTERM.
    pub signal_on_term: Signal,
    /// A reload is given up after this many failed attempts; 0 means never.
    pub start_attempts: u32,
    /// The very first start is given up after this many failed attempts; 0 means never.
    pub first_start_attempts: u32,
    /// How long the check before a reload may take; `None` if there is no check.
    pub check: Option<Duration>,
    /// From a worker's first signal to SIGKILL; `None` if workers may take as long as they want.
    /// A worker that was never ready, or is stuck, gets SIGKILL in either case.
    pub stop_timeout: Option<Duration>,
    /// The rules that may change while the supervisor runs.
    pub live_settings: LiveSettings,
}

/// The rules that are read again (from the envdir) while the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LiveSettings {
    /// From a generation's readiness to the next automatic restart; `None` if there are none.
    pub auto_restart: Option<Duration>,
    /// From the new generation's readiness to the signal to the old ones.
    pub kill_old_delay: Duration,
}

/// What makes a new worker count as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Readiness {
    /// The notification `READY=1`, or to live for the interval, whichever comes first.
    #[default]
    Auto,
    /// To live for the interval.
    Alive,
    /// The notification `READY=1` alone. Without it the attempt fails after
    /// `Rules::start_timeout`.
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
