//! Injected faults: one system call of the supervisor fails per run, from start to stop. The supervisor must serve
//! throughout, or refuse to start and give the reason.
//!
//! strace injects the fault, `-e inject=CALL:error=ERRNO:when=K`: the K-th call of a name is not made and returns the
//! error. Only the supervisor is traced, not its workers. With `-D` strace is not the parent: the process that the test
//! starts is the supervisor itself.
//!
//! The cases are not listed anywhere. Each of the [`scenarios`] first runs undisturbed, and its trace has the calls.
//! [`calls`] has the errors that each call may return, [`scenario_run`] carries out the steps, and [`verdict`] checks
//! what must hold whatever has failed.
//!
//! ```sh
//! cargo test --test faults                      # a few dozen cases
//! cargo test --test faults -- files/reload      # only cases with this in their names
//! START_SERVER_FAULTS=all cargo test --test faults
//! START_SERVER_FAULTS=all START_SERVER_FAULTS_TABLE=/tmp/faults.md cargo test --test faults
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
