//! The measuring child: measures, prints the table, and says on what it was measured.

use std::process::ExitCode;
use std::thread::available_parallelism;

use nix::sys::signal::SigSet;

use crate::contender::Contender;
use crate::measure::{self, Results};
use crate::options::Options;
use crate::proc;
use crate::table;

/// Measures and prints. A failure is told after the table of what could be measured before it.
pub(crate) fn run(options: &Options) -> ExitCode {
    // The parent has blocked the signals it waits for; contenders would inherit that.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        eprintln!("figures: unblocking signals: {error}");
        return ExitCode::FAILURE;
    }
    let (contenders, absent) = Contender::all(options);
    let mut facts = about_machine();
    facts.extend(
        contenders
            .iter()
            .map(|contender| format!("{}: {}", contender.label, contender.description())),
    );
    facts.extend(absent);

    let load = proc::load();
    let mut results = Results::default();
    let outcome = measure::all(&contenders, options.quick, &mut results);
    facts.push(format!(
        "load average before and after: {load}, {}",
        proc::load()
    ));

    print_list(&facts, options.markdown);
    if !results.figures.is_empty() {
        println!();
        print!("{}", table::render(&results.figures, options.markdown));
    }
    if !results.notes.is_empty() {
        println!();
        print_list(&results.notes, options.markdown);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("figures: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn about_machine() -> Vec<String> {
    let cores = available_parallelism().map_or(0, usize::from);
    let mut facts = vec![format!(
        "machine: {}, {cores} cores, Linux {}",
        proc::processor(),
        proc::kernel()
    )];
    if cfg!(debug_assertions) {
        facts
            .push("a debug build: good for checking that it works, not for its numbers".to_owned());
    }
    facts
}

fn print_list(lines: &[String], markdown: bool) {
    for line in lines {
        println!("{}{line}", if markdown { "- " } else { "" });
    }
}
