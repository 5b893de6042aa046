//! Faults: each system call of the supervisor's, in a life from start to stop, is made to fail, and
//! the life goes on: it serves throughout, or it has refused to start and says why.
//!
//! strace does that, `-e inject=CALL:error=ERRNO:when=K`: the K-th call of a name is not made, and
//! returns the error. It follows the supervisor alone: a worker is a child, and not traced. With `-D`
//! strace is nobody's parent, and the process started here is the supervisor itself.
//!
//! Nothing is a list of cases: a life is lived once undisturbed, and what calls it makes is read from
//! the record. [`calls`] knows which errors each may give, [`scenario_run`] what is done in a life, and
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
mod other_files;
mod runner;
mod scenario_run;
mod scenarios;
mod server;
mod table;
mod trace;
mod verdict;
mod worker;

use std::process::{Command, ExitCode, Stdio};

use server_starter_testing::{run_suite, skipped};

fn main() -> ExitCode {
    run_suite("faults", worker::run, faults)
}

fn faults(filters: &[String]) -> ExitCode {
    let filters = filters.iter().filter(|filter| *filter != "faults");
    let filters: Vec<String> = filters.cloned().collect();
    let wanted = std::env::var("START_SERVER_FAULTS").ok();
    if let Err(reason) = can_trace() {
        skipped(&format!("no faults can be injected here: {reason}"));
        // Asked for by name, a suite that cannot run has failed.
        return match wanted {
            Some(_) => ExitCode::FAILURE,
            None => ExitCode::SUCCESS,
        };
    }
    runner::all(&filters, wanted.as_deref() == Some("all"))
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
