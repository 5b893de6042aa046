//! The measuring child: measures, prints what came out, and says on what it was measured.

mod document;
mod figure;
mod section;
mod table;

use std::process::ExitCode;
use std::thread::available_parallelism;

use nix::sys::signal::SigSet;

use crate::contender::Contender;
use crate::measure;
use crate::options::Options;
use crate::proc;

pub(crate) use figure::{Figure, extreme, median, table as table_of};
pub(crate) use section::{Plot, Section};
pub(crate) use table::Table;

/// Measures and prints. A failure is told after what could be measured before it.
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
    let mut sections = Vec::new();
    let mut outcome = measure::all(&contenders, options, &mut sections);
    facts.push(format!(
        "load average before and after: {load}, {}",
        proc::load()
    ));

    print(&facts, &sections, options.markdown);
    if let (Ok(()), Some(directory)) = (&outcome, &options.output) {
        outcome = document::write(directory, &facts, &sections);
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
