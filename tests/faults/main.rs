//! Faults: each system call of the supervisor's, in a life from start to stop, is made to fail, and
//! the life goes on: it serves throughout, or it has refused to start and says why.
//!
//! strace does that, `-e inject=CALL:error=ERRNO:when=K`: the K-th call of a name is not made, and
//! returns the error. It follows the supervisor alone: a worker is a child, and not traced. With `-D`
//! strace is nobody's parent, and the process started here is the supervisor itself.
//!
//! Nothing is a list of cases: a life is lived once undisturbed, and what calls it makes is read from
//! the record. [`calls`] knows which errors each may give, [`life`] what is done in a life, and
//! [`verdict`] what must be true after it, whatever has failed.
//!
//! ```sh
//! cargo test --test faults                      # a few dozen cases
//! cargo test --test faults -- files/reload      # those of them whose names have this
//! START_SERVER_FAULTS=all cargo test --test faults
//! START_SERVER_FAULTS=all START_SERVER_FAULTS_TABLE=docs/faults.md cargo test --test faults
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod case;
mod life;
mod lives;
mod place;
mod run;
mod server;
mod table;
mod trace;
mod verdict;
mod worker;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        return worker::main();
    }
    if arguments.iter().any(|a| a == "--list") {
        println!("faults: test"); // for cargo nextest
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = arguments
        .into_iter()
        .filter(|a| !a.starts_with('-') && a != "faults")
        .collect();
    let wanted = std::env::var("START_SERVER_FAULTS").ok();
    if let Err(reason) = can_trace() {
        say(&format!(
            "SKIPPED: no faults can be injected here: {reason}"
        ));
        // Who asks for it by name does not want to be told that all is well.
        return match wanted {
            Some(_) => ExitCode::FAILURE,
            None => ExitCode::SUCCESS,
        };
    }
    run::all(&filters, wanted.as_deref() == Some("all"))
}

/// Whether strace is there, and may trace.
fn can_trace() -> Result<(), String> {
    let output = Command::new("strace")
        .args(["-D", "-o", "/dev/null"])
        .args(["-e", "inject=getppid:error=EPERM:when=1", "true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("strace: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() && said.is_empty() {
        true => Ok(()),
        false => Err(format!("strace: {}, {said}", output.status)),
    }
}

/// A line on standard error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
