//! Who has asked for a reload, and what becomes of it. Each request is answered for itself: by the
//! first start of which something begins after the request has come in, whatever another one that is
//! under way may come to.

use serde::{Deserialize, Serialize};

use super::event::{Action, Answer, Generation, Request, RequestId, Until};

/// The requests that have not had their last answer, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Requests(Vec<Pending>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    request: Request,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// What is under way, if anything, began before it.
    Waiting,
    /// The start that is under way is its own.
    UnderWay,
    /// This generation has taken over; the ones before it are still to leave.
    Draining(Generation),
}

impl Requests {
    pub(super) fn add(&mut self, request: Request) {
        self.0.push(Pending {
            request,
            stage: Stage::Waiting,
        });
    }

    /// Nobody wants its answer any more.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.0.retain(|pending| pending.request.id != id);
    }

    /// A start, or another attempt of one, begins now.
    pub(super) fn begin(&mut self) {
        for pending in &mut self.0 {
            if pending.stage == Stage::Waiting {
                pending.stage = Stage::UnderWay;
            }
        }
    }

    /// The start has succeeded: this generation has taken over, and those before it have been told
    /// to leave.
    pub(super) fn replaced(&mut self, by: Generation, todo: &mut Vec<Action>) {
        self.0.retain_mut(|Pending { request, stage }| {
            if *stage != Stage::UnderWay {
                return true;
            }
            todo.push(Action::Answer(*request, Answer::Replaced(by)));
            *stage = Stage::Draining(by);
            request.until == Until::Drained
        });
    }

    /// The start has been given up.
    pub(super) fn failed(&mut self, kept: Option<Generation>, todo: &mut Vec<Action>) {
        self.0.retain(|Pending { request, stage }| {
            let over = *stage == Stage::UnderWay;
            if over {
                todo.push(Action::Answer(*request, Answer::Failed { kept }));
            }
            !over
        });
    }

    /// Of those who have ever served, this is the oldest generation that is left.
    pub(super) fn oldest_is(&mut self, oldest: Generation, todo: &mut Vec<Action>) {
        self.0.retain(|Pending { request, stage }| match *stage {
            Stage::Draining(by) if by <= oldest => {
                todo.push(Action::Answer(*request, Answer::Drained(by)));
                false
            }
            _ => true,
        });
    }

    /// Nothing will come of any of them: everything ends.
    pub(super) fn stopped(&mut self, todo: &mut Vec<Action>) {
        let ended = |pending: Pending| Action::Answer(pending.request, Answer::Stopped);
        todo.extend(self.0.drain(..).map(ended));
    }
}
