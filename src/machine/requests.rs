//! The clients' requests for a reload, and their answers.
//!
//! A request is answered by the first start that begins after the request came in. How a start that
//! was already under way ends does not matter to it.

use serde::{Deserialize, Serialize};

use super::action::Answer;
use super::context::Context;
use super::event::{Generation, Request, RequestId, Until};

/// The requests that have not had their last answer, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Requests(Vec<Pending>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    request: Request,
    stage: RequestStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum RequestStage {
    /// No start has begun since the request.
    Waiting,
    /// The start that is under way answers the request.
    UnderWay,
    /// This generation has taken over. Older ones are still alive.
    Draining(Generation),
}

impl Requests {
    pub(super) fn add(&mut self, request: Request) {
        self.0.push(Pending {
            request,
            stage: RequestStage::Waiting,
        });
    }

    /// Drops the request of a client that disconnected.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.0.retain(|pending| pending.request.id != id);
    }

    /// A start, or another attempt of one, begins now.
    pub(super) fn begin(&mut self) {
        for pending in &mut self.0 {
            if pending.stage == RequestStage::Waiting {
                pending.stage = RequestStage::UnderWay;
            }
        }
    }

    /// The start has succeeded: this generation has taken over, and older ones have been told to
    /// leave.
    pub(super) fn replaced(&mut self, cx: &mut Context<'_>, by: Generation) {
        self.0.retain_mut(|Pending { request, stage }| {
            if *stage != RequestStage::UnderWay {
                return true;
            }
            cx.answer(*request, Answer::Replaced(by));
            *stage = RequestStage::Draining(by);
            request.until == Until::Drained
        });
    }

    /// The start has been given up.
    pub(super) fn failed(&mut self, cx: &mut Context<'_>, kept: Option<Generation>) {
        self.0.retain(|Pending { request, stage }| {
            let over = *stage == RequestStage::UnderWay;
            if over {
                cx.answer(*request, Answer::Failed { kept });
            }
            !over
        });
    }

    /// `oldest` is the oldest generation alive that has served.
    pub(super) fn oldest_is(&mut self, cx: &mut Context<'_>, oldest: Generation) {
        self.0.retain(|Pending { request, stage }| match *stage {
            RequestStage::Draining(by) if by <= oldest => {
                cx.answer(*request, Answer::Drained(by));
                false
            }
            RequestStage::Waiting | RequestStage::UnderWay | RequestStage::Draining(_) => true,
        });
    }

    /// The supervisor stops: no request will be fulfilled.
    pub(super) fn stopped(&mut self, cx: &mut Context<'_>) {
        for pending in self.0.drain(..) {
            cx.answer(pending.request, Answer::Stopped);
        }
    }
}
