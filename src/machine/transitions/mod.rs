//! The edges of the transition table in `../mod.rs`: what happens on each, and which phase follows.
//! One function is one edge.

mod attempts;
mod ending;
mod notifications;
mod starting;

use super::event::{Action, Report};

type Todo = Vec<Action>;

fn report(todo: &mut Todo, what: Report) {
    todo.push(Action::Report(what));
}
