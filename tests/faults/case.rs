//! One call that is to fail, and which of them are tried.

use std::collections::HashSet;

use crate::calls::errors;
use crate::scenario_run::Baseline;
use crate::scenarios::{SCENARIOS, Step};

/// The `nth` call of this name fails with this error, and so do those after it if there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) nth: usize,
    pub(crate) times: usize,
    pub(crate) errno: &'static str,
}

/// How many calls fail in a bad spell.
const SPELL: usize = 5;

/// A fault in one of the lives.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Which of [`SCENARIOS`].
    pub(crate) life: usize,
    /// In which step the record has the call.
    pub(crate) step: Step,
    /// The call in the record, for people.
    pub(crate) shape: String,
    pub(crate) fault: Fault,
}

impl Fault {
    /// In strace's words.
    pub(crate) fn when(&self) -> String {
        match self.times {
            1 => self.nth.to_string(),
            times => format!("{}..{}", self.nth, self.nth + times - 1),
        }
    }
}

impl Case {
    /// `files/reload/openat:12:EMFILE`; `openat:12..16` for a spell.
    pub(crate) fn id(&self) -> String {
        let life = SCENARIOS.get(self.life).map_or("?", |life| life.name);
        let (step, fault) = (self.step.name(), &self.fault);
        format!(
            "{life}/{step}/{}:{}:{}",
            fault.name,
            fault.when(),
            fault.errno
        )
    }

    /// All cases of a life that has been recorded.
    pub(crate) fn all(life: usize, record: &Baseline) -> Vec<Case> {
        let mut cases = Vec::new();
        for call in &record.trace.calls {
            for errno in errors(&call.name, &call.text) {
                cases.push(Case {
                    life,
                    step: record.step_at(call.at),
                    shape: call.shape(&record.directory),
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

/// Bad spells: from the first call of a name in each step on, several fail. What makes each of them take
/// seconds is left out.
pub(crate) fn spells(all: &[Case]) -> Vec<Case> {
    let mut seen = HashSet::new();
    let mut spells = Vec::new();
    for case in all.iter().filter(|case| !takes_seconds(case)) {
        if seen.insert((case.life, case.step, &case.fault.name)) {
            let mut spell = case.clone();
            spell.fault.times = SPELL;
            spells.push(spell);
        }
    }
    spells
}

/// A few dozen of all: each call once with each error, in another step each time, as far as that goes.
pub(crate) fn quick(all: &[Case]) -> Vec<Case> {
    let mut steps = HashSet::new();
    let mut errors = HashSet::new();
    let chosen = all.iter().filter(|case| {
        let Fault { name, errno, .. } = &case.fault;
        let step = (case.life, case.step, name);
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

/// A descriptor that stays open, a signal that is never sent: somebody waits until a time is up.
fn takes_seconds(case: &Case) -> bool {
    ["close", "kill"].contains(&case.fault.name.as_str())
}
