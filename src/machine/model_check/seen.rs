//! A worker, and a request, as an observer knows them.

use std::time::Duration;

use crate::machine::*;
use crate::types::Signal;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SeenWorker {
    pub(super) generation: Generation,
    /// The worker has said READY=1.
    pub(super) said_ready: bool,
    pub(super) ready: bool,
    pub(super) signalled: bool,
    /// The worker got a signal that tells it to leave.
    pub(super) told_to_leave: bool,
    /// The worker was not ready in time.
    pub(super) given_up: bool,
    /// The worker is being aborted.
    pub(super) stuck: bool,
    /// The worker was started by a supervisor that was killed.
    pub(super) adopted: bool,
    pub(super) born: Time,
    /// When the worker last pinged, or became ready.
    pub(super) pinged: Time,
    /// The earliest time of SIGKILL; `None` if it may not be sent.
    pub(super) kill_from: Option<Time>,
    /// The time from the first signal to `kill_from`.
    pub(super) kill_after: Duration,
    /// The signal that told the worker to leave.
    pub(super) told: Option<Signal>,
    /// A stop was requested again, and the signal for that has not come yet.
    pub(super) hurry: bool,
}

/// A request that has not had its last answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SeenRequest {
    pub(super) until: Until,
    /// The last generation when the request came in.
    pub(super) after: Generation,
    /// A check, or an attempt, has begun since.
    pub(super) begun: bool,
    /// The generation of the answer [`Answer::Replaced`].
    pub(super) replaced: Option<Generation>,
}

impl SeenWorker {
    pub(super) fn born(generation: Generation, now: Time) -> SeenWorker {
        SeenWorker {
            generation,
            said_ready: false,
            ready: false,
            signalled: false,
            told_to_leave: false,
            given_up: false,
            stuck: false,
            adopted: false,
            born: now,
            pinged: now,
            kill_from: None,
            kill_after: Duration::ZERO,
            told: None,
            hurry: false,
        }
    }

    /// Whether the worker is not ready yet and has not been given up.
    pub(super) fn is_starting(&self) -> bool {
        !self.ready && !self.signalled
    }

    pub(super) fn is_serving(&self) -> bool {
        self.ready && !self.told_to_leave
    }

    pub(super) fn has_served(&self) -> bool {
        self.ready || (self.signalled && !self.given_up)
    }

    pub(super) fn kill_after(&mut self, time: Duration, now: Time) {
        self.kill_from = Some(now + time);
        self.kill_after = time;
    }

    /// Whether the worker lives on when the supervisor gives up.
    pub(super) fn is_left_behind(&self) -> bool {
        self.adopted && self.is_serving()
    }
}
