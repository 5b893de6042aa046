//! What a machine knows: the phase, and all that it remembers. The transition table is `table.rs`.

mod table;

use serde::{Deserialize, Serialize};

use super::backoff::CrashLoop;
use super::event::{Generation, Time, Trigger};
use super::requests::Requests;
use super::rules::Rules;
use super::workers::Workers;
use crate::types::Pid;

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Phase {
    /// Nothing: the current worker serves.
    Serving,
    /// A reload, before its first attempt: the check runs. It fails if it runs for longer than that.
    Checking { since: Time, until: Time },
    /// A start, before its first attempt or between two attempts.
    WaitingToStart { until: Time },
    /// A start: the process has been asked for.
    Spawning { generation: Generation },
    /// A start: the new worker has to live, or to say that it is ready, until then.
    Starting {
        generation: Generation,
        since: Time,
        until: Time,
    },
    /// The new worker is ready. The old ones may live until then.
    KillOldDelay { kill_at: Time },
    /// All workers have been told to leave. The exit status follows when the last one is dead.
    Stopping { code: u8 },
    /// No worker is left and none will be started.
    Ended,
}

/// Why a start is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Cause {
    /// The supervisor has started. No worker has served yet.
    First,
    /// The supervisor has started, and is to replace the workers of one that was killed.
    Takeover,
    /// The current worker died.
    Replacement,
    /// A reload was requested, or the auto-restart interval has passed.
    Reload,
}

/// The start that is under way, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    pub(super) cause: Cause,
    /// Attempts that have failed in a row.
    pub(super) failures: u32,
    /// When the latest attempt began.
    pub(super) attempt_at: Time,
}

/// All that a machine knows, except for its rules. This is also its saved form, which one release
/// writes and the next one reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineState {
    /// Set by the table alone. Transitions return the phase that follows.
    phase: Phase,
    pub(super) start: Start,
    pub(super) workers: Workers,
    pub(super) last_generation: Generation,
    /// The operator has asked for a stop.
    pub(super) stop_requested: bool,
    /// A reload that the start under way does not answer.
    pub(super) reload_wanted: Option<Trigger>,
    pub(super) requests: Requests,
    /// Auto-restart counts from here: the last readiness, or the last reload that was given up.
    pub(super) restart_base: Time,
    pub(super) crashes: CrashLoop,
}

/// What the supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SupervisorState {
    /// No worker serves. One is being started.
    Starting,
    /// A worker serves, and nothing is under way.
    Serving,
    /// A worker serves, and the next generation is under way.
    Reloading,
    /// All workers have been told to leave.
    Stopping,
}

impl Cause {
    /// Whether no generation of this supervisor has been ready yet.
    pub(super) fn is_first(self) -> bool {
        matches!(self, Cause::First | Cause::Takeover)
    }
}

impl MachineState {
    pub(super) fn new() -> MachineState {
        MachineState {
            phase: Phase::WaitingToStart { until: Time::ZERO },
            start: Start {
                cause: Cause::First,
                failures: 0,
                attempt_at: Time::ZERO,
            },
            workers: Workers::default(),
            last_generation: 0,
            stop_requested: false,
            reload_wanted: None,
            requests: Requests::default(),
            restart_base: Time::ZERO,
            crashes: CrashLoop::default(),
        }
    }

    /// The first generation follows `last_generation`, and is to replace these workers, which are in
    /// the order of their generations, and have been ready since then.
    pub(super) fn adopt(
        &mut self,
        workers: impl IntoIterator<Item = (Generation, Pid, Time)>,
        last_generation: Generation,
    ) {
        for (generation, pid, ready_since) in workers {
            self.workers.adopt(generation, pid, ready_since);
            self.start.cause = Cause::Takeover;
            self.last_generation = last_generation;
        }
    }

    /// When the next [`Event::Tick`](super::Event::Tick) is due at the latest; `None` if nothing will
    /// happen by itself.
    pub(super) fn deadline(&self, rules: &Rules) -> Option<Time> {
        let phase = match self.phase {
            Phase::Serving => self.next_auto_restart(rules),
            Phase::Checking { until, .. }
            | Phase::WaitingToStart { until }
            | Phase::Starting { until, .. } => Some(until),
            Phase::KillOldDelay { kill_at } => Some(kill_at),
            Phase::Spawning { .. } | Phase::Stopping { .. } | Phase::Ended => None,
        };
        match (phase, self.workers.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When the next automatic restart is due. While an old worker is alive the interval counts
    /// double.
    pub(super) fn next_auto_restart(&self, rules: &Rules) -> Option<Time> {
        let interval = rules.live_settings.auto_restart?;
        let factor = if self.workers.any_old() { 2 } else { 1 };
        let interval = interval.saturating_mul(factor);
        Some(self.restart_base.saturating_add(interval))
    }

    /// The workers that have served and are still alive, in the order of their generations.
    pub(super) fn live(&self) -> impl Iterator<Item = (Generation, Pid)> + '_ {
        let served = self.workers.iter().filter(|w| w.has_served());
        served.map(|w| (w.generation, w.pid))
    }

    #[cfg(test)]
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn supervisor_state(&self) -> SupervisorState {
        match self.phase {
            Phase::Serving => SupervisorState::Serving,
            Phase::Stopping { .. } | Phase::Ended => SupervisorState::Stopping,
            Phase::Checking { .. }
            | Phase::WaitingToStart { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::KillOldDelay { .. } => match self.workers.current() {
                Some(_) => SupervisorState::Reloading,
                None => SupervisorState::Starting,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    /// A running supervisor may have saved any of them: never to be changed. The other fields are in
    /// `supervisor/upgrade/format_1.json`.
    #[test]
    fn saved_forms_of_phases_and_causes_are_frozen() {
        let at = |secs| json!({"secs": secs, "nanos": 0});
        let time = Time::from_secs;
        let (since, until, generation, kill_at) = (time(1), time(2), 3, time(4));
        frozen(&Phase::Serving, json!("Serving"));
        frozen(
            &Phase::Checking { since, until },
            json!({"Checking": {"since": at(1), "until": at(2)}}),
        );
        frozen(
            &Phase::WaitingToStart { until },
            json!({"WaitingToStart": {"until": at(2)}}),
        );
        frozen(
            &Phase::Spawning { generation },
            json!({"Spawning": {"generation": 3}}),
        );
        frozen(
            &Phase::Starting {
                generation,
                since,
                until,
            },
            json!({"Starting": {"generation": 3, "since": at(1), "until": at(2)}}),
        );
        frozen(
            &Phase::KillOldDelay { kill_at },
            json!({"KillOldDelay": {"kill_at": at(4)}}),
        );
        frozen(
            &Phase::Stopping { code: 1 },
            json!({"Stopping": {"code": 1}}),
        );
        frozen(&Phase::Ended, json!("Ended"));

        frozen(&Cause::First, json!("First"));
        frozen(&Cause::Takeover, json!("Takeover"));
        frozen(&Cause::Replacement, json!("Replacement"));
        frozen(&Cause::Reload, json!("Reload"));
        frozen(&Trigger::Hup, json!("Hup"));
        frozen(&Trigger::Request, json!("Request"));
        frozen(&Trigger::SocketReplaced, json!("SocketReplaced"));
    }

    fn frozen<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        value: &T,
        saved: serde_json::Value,
    ) {
        assert_eq!(serde_json::to_value(value).unwrap(), saved);
        assert_eq!(&serde_json::from_value::<T>(saved).unwrap(), value);
    }
}
