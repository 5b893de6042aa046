//! The pure machine: it decides when a generation is started and which workers are signalled.
//!
//! One sentence rules everything here: *workers are replaced if, and only if, their successor is
//! ready*. The machine does no I/O, reads no clock and knows no pid it was not told. Whatever can
//! go wrong outside arrives as an [`Event`]; what is to be done about it leaves as a list of
//! [`Action`]s. So every race is a unit test, and the whole space of event orders can be walked
//! through (`model_check/` does).
//!
//! ```text
//!                       +-------- failed, try again --------+
//!                       v                                   |
//!  (start) ---> WaitingToStart --time--> Spawning ---> Starting --failed too often--> Serving, or
//!                       ^                    ^              |                         Stopping if
//!  current worker died  |      HUP, request  |              | ready                   none serves
//!                       |   +----------------+              v
//!                    Serving <-----------time--------- KillOldDelay
//!
//!  TERM, INT, QUIT in every phase: Stopping --last worker died--> Ended
//! ```
//!
//! What makes a worker ready is a rule, [`Readiness`]: its notification, to have lived for the
//! interval, or either. A worker whose notification is required and does not come in time has failed.
//!
//! A HUP in `Serving` starts a new generation; in `WaitingToStart` the coming attempt answers it; in the
//! other phases it is remembered, and answered by one more generation when this one is through.
//!
//! A reload may begin with a check (`Checking`, between `Serving` and `Spawning`): when it fails,
//! nothing is started and the reload is over.
//!
//! Read on in `state/table.rs`, the transition table; what is done on each transition is in
//! `transitions/`. `docs/state-machine.md` shows the table phase by phase.

mod action;
mod backoff;
mod context;
mod event;
mod requests;
mod rules;
mod state;
mod transitions;
mod workers;

#[cfg(test)]
mod model_check;
#[cfg(test)]
mod tests;

pub use action::{Action, Answer, Report};
pub use event::{
    Event, Generation, Notification, Request, RequestId, SpawnFailure, Time, Trigger, Until,
};
pub use rules::{LiveSettings, Readiness, Rules};
pub use state::SupervisorState;
pub use workers::WorkerState;

pub(crate) use state::MachineState;

use std::time::Duration;

use crate::types::Pid;
use context::Context;

/// The least time from one failed attempt to the next, however short the interval.
pub const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// Makes the decisions; see the [module's page](self).
///
/// Its caller has three duties: to hand over events in the order in which they happened, with a `now` that
/// never runs backwards, and an [`Event::Tick`] no later than [`deadline`](Machine::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    rules: Rules,
    state: MachineState,
}

impl Machine {
    /// A machine that starts its first generation at the first [`Event::Tick`].
    pub fn new(rules: Rules) -> Machine {
        Machine::resume(rules, MachineState::new())
    }

    /// The same, with the workers of a supervisor that was killed. They are in the order of their
    /// generations, with the time since which they were ready. The first generation comes after
    /// `last_generation`, and replaces them.
    pub fn taking_over(
        mut self,
        workers: impl IntoIterator<Item = (Generation, Pid, Time)>,
        last_generation: Generation,
    ) -> Machine {
        self.state.adopt(workers, last_generation);
        self
    }

    /// A machine that goes on in the state of another one, under the present rules.
    pub(crate) fn resume(rules: Rules, state: MachineState) -> Machine {
        Machine { rules, state }
    }

    /// What [`resume`](Machine::resume) needs.
    pub(crate) fn save(&self) -> MachineState {
        self.state.clone()
    }

    /// Takes in what happened and returns what to do about it.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        let mut cx = Context {
            rules: &mut self.rules,
            now,
            actions: Vec::new(),
        };
        self.state.handle(&mut cx, event);
        cx.actions
    }

    /// When the next [`Event::Tick`] is due at the latest; `None` if nothing will happen by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.state.deadline(&self.rules)
    }

    /// What the supervisor is doing.
    pub fn supervisor_state(&self) -> SupervisorState {
        self.state.supervisor_state()
    }

    /// The worker that serves: the newest that is ready and has not been told to leave.
    pub fn current(&self) -> Option<(Generation, Pid)> {
        let current = self.state.workers.current();
        current.map(|w| (w.generation, w.pid))
    }

    /// The workers that have been ready and are still alive, told to leave or not, in the order
    /// of their generations: what the status file lists.
    pub fn live(&self) -> impl Iterator<Item = (Generation, Pid)> + '_ {
        self.state.live()
    }

    /// All workers, in the order of their generations.
    pub fn workers(&self) -> impl Iterator<Item = (Generation, Pid, WorkerState)> + '_ {
        let workers = self.state.workers.iter();
        workers.map(|w| (w.generation, w.pid, w.state))
    }

    /// Whether this worker was started by a supervisor that was killed.
    pub fn is_adopted(&self, pid: Pid) -> bool {
        let mut workers = self.state.workers.iter();
        workers.any(|w| w.pid == pid && w.adopted)
    }

    /// The generation of a worker; `None` if this process is not a worker, as far as the machine
    /// knows.
    pub fn generation_of(&self, pid: Pid) -> Option<Generation> {
        let mut workers = self.state.workers.iter();
        workers.find(|w| w.pid == pid).map(|w| w.generation)
    }
}
