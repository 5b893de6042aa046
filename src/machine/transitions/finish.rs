//! How a start ends, if a worker serves afterwards.

use std::time::Duration;

use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::Generation;
use crate::machine::state::{MachineState, Phase};

impl MachineState {
    /// The start has succeeded. `Serving` follows, or the start of the next reload if one is wanted.
    pub(super) fn succeed(&mut self, cx: &mut Context<'_>, generation: Generation) -> Phase {
        cx.report(Report::Settled);
        self.requests.replaced(cx, generation);
        self.answer_drained(cx);
        self.serve(cx)
    }

    /// The start was given up, and the generation before it serves on. `Serving` follows, or the
    /// start of the next reload if one is wanted.
    pub(super) fn give_up_reload(
        &mut self,
        cx: &mut Context<'_>,
        kept: Option<Generation>,
    ) -> Phase {
        self.restart_base = cx.now;
        cx.report(Report::Settled);
        self.requests.failed(cx, kept);
        self.serve(cx)
    }

    /// The check has failed, or timed out. No generation was started. `Serving` follows, or the start
    /// of the next reload if one is wanted.
    pub(in crate::machine) fn check_failed(
        &mut self,
        cx: &mut Context<'_>,
        timed_out: Option<Duration>,
    ) -> Phase {
        if timed_out.is_some() {
            cx.act(Action::EndCheck);
        }
        let kept = self.workers.current().map(|w| w.generation);
        cx.report(Report::CheckFailed { timed_out, kept });
        self.give_up_reload(cx, kept)
    }

    /// `Serving` follows, or `Checking` or `Spawning` if another reload is wanted.
    fn serve(&mut self, cx: &mut Context<'_>) -> Phase {
        match self.reload_wanted {
            Some(by) => self.reload(cx, by),
            None => Phase::Serving,
        }
    }
}
