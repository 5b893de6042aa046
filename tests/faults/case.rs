//! The cases: calls that fail, and the choice of them.

use std::collections::HashSet;

use crate::calls::errors;
use crate::scenario_run::Baseline;
use crate::scenarios::{SCENARIOS, Step};

/// `times` calls of this name fail with this error, from the `nth` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) nth: usize,
    pub(crate) times: usize,
    pub(crate) errno: &'static str,
}

/// The number of calls that fail in a burst.
const BURST: usize = 5;

/// A fault in one of the scenarios.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The index in [`SCENARIOS`].
    pub(crate) scenario: usize,
    /// The step in which the baseline has the call.
    pub(crate) step: Step,
    /// The call as shown in reports.
    pub(crate) shape: String,
    pub(crate) fault: Fault,
}

impl Fault {
    /// In the syntax of strace.
    pub(crate) fn when(&self) -> String {
        match self.times {
            1 => self.nth.to_string(),
            times => format!("{}..{}", self.nth, self.nth + times - 1),
        }
    }
}

impl Case {
    /// `files/reload/openat:12:EMFILE`; `openat:12..16` for a burst.
    pub(crate) fn id(&self) -> String {
        let scenario = SCENARIOS.get(self.scenario).map_or("?", |it| it.name);
        let (step, fault) = (self.step.name(), &self.fault);
        format!(
            "{scenario}/{step}/{}:{}:{}",
            fault.name,
            fault.when(),
            fault.errno
        )
    }

    /// All cases of a scenario.
    pub(crate) fn all(scenario: usize, baseline: &Baseline) -> Vec<Case> {
        let mut cases = Vec::new();
        for call in &baseline.trace.calls {
            for errno in errors(&call.name, &call.text) {
                cases.push(Case {
                    scenario,
                    step: baseline.step_at(call.at),
                    shape: call.shape(&baseline.directory),
                    fault: Fault {
                        name: call.name.clone(),
                        nth: call.nth,
                        times: 1,
                        errno,
                    },
                });
            }
        }
        cases
    }
}

/// Bursts: several calls fail, from the first call of a name in each step on. Calls whose failure takes seconds are left
/// out.
pub(crate) fn bursts(all: &[Case]) -> Vec<Case> {
    let mut seen = HashSet::new();
    let mut bursts = Vec::new();
    for case in all.iter().filter(|case| !takes_seconds(case)) {
        if seen.insert((case.scenario, case.step, &case.fault.name)) {
            let mut burst = case.clone();
            burst.fault.times = BURST;
            bursts.push(burst);
        }
    }
    bursts
}

/// A few dozen cases: each call once with each error, in different steps as far as possible.
pub(crate) fn quick(all: &[Case]) -> Vec<Case> {
    let mut steps = HashSet::new();
    let mut errors = HashSet::new();
    let chosen = all.iter().filter(|case| {
        let Fault { name, errno, .. } = &case.fault;
        let step = (case.scenario, case.step, name);
        let is_new = !steps.contains(&step) && !errors.contains(&(name, errno));
        let wanted = is_new && !takes_seconds(case);
        if wanted {
            steps.insert(step);
            errors.insert((name, errno));
        }
        wanted
    });
    chosen.cloned().collect()
}

/// Whether the failure means a wait for a time-out: a descriptor stays open, or a signal is not sent.
fn takes_seconds(case: &Case) -> bool {
    ["close", "kill"].contains(&case.fault.name.as_str())
}
