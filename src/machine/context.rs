//! What every transition gets besides the state.

use super::action::{Action, Answer, Report};
use super::event::{Request, Time};
use super::rules::Rules;
use crate::types::{Pid, Signal};

/// The rules and the time that hold while one event is handled, and the actions that come of it.
pub(super) struct Context<'a> {
    pub(super) rules: &'a mut Rules,
    pub(super) now: Time,
    /// In the order in which the caller carries them out.
    pub(super) actions: Vec<Action>,
}

impl Context<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    pub(super) fn signal(&mut self, pid: Pid, signal: Signal) {
        self.act(Action::Signal(pid, signal));
    }

    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        self.act(Action::Answer(request, answer));
    }
}
