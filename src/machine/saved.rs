//! A machine, put away while the program around it changes, and taken up by the next release.

use serde::{Deserialize, Serialize};

use super::backoff::CrashLoop;
use super::requests::Requests;
use super::worker::Workers;
use super::{Generation, Machine, Phase, Rules, Start, Time, Trigger};

/// All that a machine knows, but for its rules, which come from the command line again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    phase: Phase,
    start: Start,
    workers: Workers,
    last_generation: Generation,
    reload_wanted: Option<Trigger>,
    requests: Requests,
    restart_base: Time,
    crashes: CrashLoop,
}

impl Machine {
    pub(crate) fn save(&self) -> Saved {
        Saved {
            phase: self.phase,
            start: self.start.clone(),
            workers: self.workers.clone(),
            last_generation: self.last_generation,
            reload_wanted: self.reload_wanted,
            requests: self.requests.clone(),
            restart_base: self.restart_base,
            crashes: self.crashes.clone(),
        }
    }

    pub(crate) fn resume(rules: Rules, saved: Saved) -> Machine {
        let Saved {
            phase,
            start,
            workers,
            last_generation,
            reload_wanted,
            requests,
            restart_base,
            crashes,
        } = saved;
        Machine {
            rules,
            phase,
            start,
            workers,
            last_generation,
            reload_wanted,
            requests,
            restart_base,
            crashes,
        }
    }
}
