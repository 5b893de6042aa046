//! What a suite reports past the capture of the test runner, and the command line of a suite that has a `main` of its
//! own.

use std::io::Write;
use std::process::ExitCode;

/// Writes a line to standard error, which the test runner does not capture.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reports that a test could not run, and why.
pub fn skipped(reason: &str) {
    say(&format!("SKIPPED: {reason}"));
}

/// The command line of a test target without libtest, which must still work for `cargo test` and cargo-nextest.
///
/// `worker` is run if the supervisor under test has started this program as its worker. Otherwise `suite` is run with
/// the filters.
pub fn run_suite(
    name: &str,
    worker: fn() -> Result<ExitCode, Box<dyn std::error::Error>>,
    suite: fn(&[String]) -> ExitCode,
) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == WORKER) {
        return worker().unwrap_or_else(|error| {
            say(&format!("worker: {error}"));
            ExitCode::FAILURE
        });
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    let filters = arguments.into_iter();
    let filters: Vec<String> = filters.filter(|it| !it.starts_with('-')).collect();
    suite(&filters)
}

/// The argument with which this program is its own worker.
const WORKER: &str = "worker";

/// The command of the worker of [`run_suite`]: this program.
pub fn worker_command() -> [std::ffi::OsString; 3] {
    let program = std::env::current_exe().expect("this program has a path");
    ["--".into(), program.into(), WORKER.into()]
}
