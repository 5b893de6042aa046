//! `start_server`: arguments in, exit status out.
// The options' comments are the text of --help, where brackets are brackets.
#![allow(rustdoc::broken_intra_doc_links)]

mod cli;

use std::io::Write;
use std::process::ExitCode;

use cli::Command;
use server_starter::{Error, control, init_log, run};

fn main() -> ExitCode {
    let invocation = match cli::parse() {
        Ok(invocation) => invocation,
        Err(exit) => return exit,
    };
    init_log(invocation.log_level);
    let done = match invocation.command {
        Command::Start(config) => run(*config),
        Command::Restart(request) => control::restart(&request).map(|()| 0),
        Command::Stop(request) => control::stop(&request).map(|()| 0),
    };
    match done {
        Ok(status) => status.into(),
        Err(error) => complain(&error),
    }
}

fn complain(error: &Error) -> ExitCode {
    // Standard error may be closed or full: the exit status says it, too.
    let _ = writeln!(std::io::stderr(), "start_server: {error}");
    error.exit_status().into()
}
