//! Which of the given options are written into ExecStart= of a unit, and what happens to the others.

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory};

use super::options::Options;
use super::quote::quote;

/// Options for which a unit has a setting of its own, or that only concern the generation.
const EXPRESSED: [&str; 12] = [
    "generate",
    "name",
    "scope",
    "program",
    "start_attempts",
    "timeout",
    "path_mode",
    "path_user",
    "path_group",
    "backlog",
    "user",
    "group",
];

/// Options that are left out of a unit, with the reason. The unit has it as a comment.
const LEFT_OUT: [(&str, &str); 6] = [
    ("control", "it is in the RuntimeDirectory"),
    ("pid_file", "it is in the RuntimeDirectory"),
    ("status_file", "it is in the RuntimeDirectory"),
    ("log_file", "the journal has the output"),
    ("daemonize", "systemd does that"),
    ("until", "a reload is done when the new workers are ready"),
];

/// The options for ExecStart= as they were given, in the order of their declaration, and notes on
/// those that are left out.
pub(super) fn arguments(options: &Options, matches: &ArgMatches) -> (Vec<String>, Vec<String>) {
    let (mut arguments, mut notes) = (Vec::new(), Vec::new());
    for arg in Options::command().get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else {
            continue;
        };
        if EXPRESSED.contains(&id) || !given(matches, id) {
            continue;
        }
        if let Some((_, why)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == id) {
            notes.push(format!("--{long} is left out: {why}."));
            continue;
        }
        match arg.get_action() {
            ArgAction::SetTrue => arguments.push(format!("--{long}")),
            ArgAction::Count => {
                let times = (0..options.verbose).map(|_| format!("--{long}"));
                arguments.extend(times);
            }
            _ => {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let mut word = std::ffi::OsString::from(format!("--{long}="));
                    word.push(value);
                    arguments.push(quote(&word));
                }
            }
        }
    }
    (arguments, notes)
}

/// Whether an option was given on the command line.
pub(super) fn given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}
