//! The measuring child: measures, prints the results, and says on which machine they were taken.

use std::process::ExitCode;
use std::thread::available_parallelism;

use nix::sys::signal::SigSet;

use crate::candidate::Candidate;
use crate::measure;
use crate::options::Options;
use crate::proc;
use crate::report::{Section, write};

/// Measures and prints. A failure is told after what could be measured before it.
pub(crate) fn run(options: &Options) -> ExitCode {
    // The parent has blocked the signals it waits for; candidates would inherit that.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        eprintln!("figures: unblocking signals: {error}");
        return ExitCode::FAILURE;
    }
    let (candidates, absent) = Candidate::all(options);
    let mut facts = about_machine();
    facts.extend(
        candidates
            .iter()
            .map(|candidate| format!("{}: {}", candidate.label, candidate.description())),
    );
    facts.extend(absent);

    let load = proc::load();
    let mut sections = Vec::new();
    let mut outcome = measure::all(&candidates, options, &mut sections);
    facts.push(format!(
        "load average before and after: {load}, {}",
        proc::load()
    ));

    print(&facts, &sections, options.markdown);
    if let (Ok(()), Some(directory)) = (&outcome, &options.output) {
        outcome = write(directory, &facts, &sections);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("figures: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn print(facts: &[String], sections: &[Section], markdown: bool) {
    for fact in facts {
        println!("{}{fact}", if markdown { "- " } else { "" });
    }
    for section in sections {
        println!("\n{}{}\n", if markdown { "## " } else { "" }, section.title);
        for table in &section.tables {
            println!("{}", table.render(markdown));
        }
        for note in &section.notes {
            println!("{note}");
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
