//! One call that is to fail, and which of them are tried.

use std::collections::HashSet;

use crate::calls::errors;
use crate::life::Record;
use crate::lives::{LIVES, Step};

/// The `nth` call of this name fails with this error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) nth: usize,
    pub(crate) errno: &'static str,
}

/// A fault in one of the lives.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Which of [`LIVES`].
    pub(crate) life: usize,
    /// In which step the record has the call.
    pub(crate) step: Step,
    /// The call in the record, for people.
    pub(crate) shape: String,
    pub(crate) fault: Fault,
}

impl Case {
    /// `files/reload/openat:12:EMFILE`
    pub(crate) fn id(&self) -> String {
        let life = LIVES.get(self.life).map_or("?", |life| life.name);
        let Fault { name, nth, errno } = &self.fault;
        format!("{life}/{}/{name}:{nth}:{errno}", self.step.name())
    }

    /// All cases of a life that has been recorded.
    pub(crate) fn all(life: usize, record: &Record) -> Vec<Case> {
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
                        errno,
                    },
                });
            }
        }
        cases
    }
}

/// A few dozen of all: in each step each call once, with one error and another in the next step, as
/// far as that goes. What is known to take long is left out.
pub(crate) fn quick(all: Vec<Case>) -> Vec<Case> {
    let mut seen = HashSet::new();
    let mut chosen: Vec<Case> = Vec::new();
    for case in all {
        // A descriptor that stays open, a signal that is never sent: somebody waits for seconds.
        if ["close", "kill"].contains(&case.fault.name.as_str()) {
            continue;
        }
        let place = (case.fault.name.clone(), case.fault.errno);
        if seen.contains(&place) || chosen.iter().any(|c| is_sibling(c, &case)) {
            continue;
        }
        seen.insert(place);
        chosen.push(case);
    }
    chosen
}

/// Another error of the same call in the same step.
fn is_sibling(one: &Case, other: &Case) -> bool {
    let key = |case: &Case| (case.life, case.step, case.fault.name.clone());
    key(one) == key(other)
}
