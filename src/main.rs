//! The command `start_server`: parses the command line, carries out the command, returns the exit status.
// The comments of the options are the text of --help, where brackets are no links.
#![allow(rustdoc::broken_intra_doc_links)]

mod cli;

use std::io::Write;
use std::process::ExitCode;

use cli::Command;
use server_starter::command::{self, ignore_file_size_signal};
use server_starter::{Error, init_log, run};

fn main() -> ExitCode {
    ignore_file_size_signal();
    let invocation = match cli::parse() {
        Ok(invocation) => invocation,
        Err(exit) => return exit,
    };
    init_log(invocation.log_level);
    let result = match invocation.command {
        Command::Start(config) => run(*config),
        Command::Restart(request) => command::restart(&request).map(|()| 0),
        Command::Stop(request) => command::stop(&request).map(|()| 0),
        Command::Status(request) => match command::status(&request) {
            Ok(text) => return print(text.as_bytes()),
            Err(error) => Err(error),
        },
        Command::Upgrade(request) => match command::upgrade(&request) {
            Ok(text) => return print(text.as_bytes()),
            Err(error) => Err(error),
        },
        Command::Preflight(config) => match command::preflight(&config) {
            Ok(text) => return print(text.as_bytes()),
            Err(error) => Err(error),
        },
        Command::Print(text) => return print(&text),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => report(&error),
    }
}

fn print(text: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "start_server: cannot write: {e}");
            ExitCode::FAILURE
        }
    }
}

fn report(error: &Error) -> ExitCode {
    // Standard error may be closed or full. The exit status shows the failure as well.
    let _ = writeln!(std::io::stderr(), "start_server: {error}");
    error.exit_status().into()
}
