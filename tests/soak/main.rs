//! Soak: one supervisor, for as long as is wanted, under load and under everything that can be done to
//! it from outside: reloads, storms of them, upgrades in place, workers that fail, hang and are killed,
//! a full disk, rotated logs, an envdir that changes and vanishes, clients that talk nonsense. Not one
//! request may fail; and again and again all is let come to rest, and must be as it was: one
//! generation, the same descriptors, no more memory, no zombie, nothing left over.
//!
//! A seed decides what is done in which order, and what each generation is like; when it happens is up
//! to the machine.
//!
//! ```sh
//! cargo test --test soak                        # some seconds, always the same seed
//! START_SERVER_SOAK=30m START_SERVER_SOAK_SEED=7 cargo test --release --test soak
//! START_SERVER_SOAK_RELOADS=10000 cargo test --release --test soak   # reloads, and nothing else
//! ```
//!
//! `START_SERVER_SOAK_VERBOSE=1` shows what is done as it goes.
//!
//! Left out is the clock: it cannot be set for one process alone (a time namespace has a monotonic
//! clock of its own, but no time of day), and the machine's is not ours to set.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod actions;
mod life;
mod load;
mod random;
mod report;
mod server;
mod steady_state;
mod watch;
mod worker;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use server_starter_testing::{run_suite, say, wait_for_within};

/// How long any event may take. Far above what it needs on a busy machine: the longest that is waited
/// for is a worker that is not ready in time, again and again.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    /// Only so many reloads, and nothing else.
    pub(crate) reloads: Option<u64>,
    /// A small file system can be had, to be filled.
    pub(crate) disk: bool,
}

fn main() -> ExitCode {
    run_suite("soak", worker::run, soak)
}

fn soak(filters: &[String]) -> ExitCode {
    if !filters.is_empty() && !filters.iter().any(|filter| "soak".contains(filter)) {
        return ExitCode::SUCCESS; // another suite is meant
    }
    match plan() {
        Ok(plan) => life::live(&plan),
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

const INSIDE: &str = "START_SERVER_SOAK_INSIDE";

fn plan() -> Result<Plan, String> {
    let number = |name: &str| match std::env::var(name) {
        Ok(text) => {
            let number = text.parse::<u64>().map(Some);
            number.map_err(|_| format!("{name}={text}: not a number"))
        }
        Err(_) => Ok(None),
    };
    let time = match std::env::var("START_SERVER_SOAK") {
        Ok(text) => seconds(&text).ok_or(format!("START_SERVER_SOAK={text}: 90s, 30m, 8h…"))?,
        Err(_) => Duration::from_secs(10),
    };
    let plan = Plan {
        seed: number("START_SERVER_SOAK_SEED")?.unwrap_or(6),
        time,
        reloads: number("START_SERVER_SOAK_RELOADS")?,
        disk: std::env::var_os(INSIDE).is_some(),
    };
    if !plan.disk {
        let why = enter_namespace();
        say(&format!("LEFT OUT: no disk can be filled here: {why}"));
    }
    Ok(plan)
}

/// Becomes the same program in a mount namespace of its own, where a file system can be mounted that
/// goes with it. Returns only when that cannot be had: why.
fn enter_namespace() -> String {
    if !nix::unistd::geteuid().is_root() {
        return "that takes root".to_owned();
    }
    const UNSHARE: [&str; 2] = ["--mount", "--"];
    let tried = Command::new("unshare")
        .args(UNSHARE)
        .args(["mount", "-t", "tmpfs", "soak", "/tmp"])
        .output();
    match tried {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => return String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
        Err(e) => return format!("unshare: {e}"),
    }
    let mut command = Command::new("unshare");
    command
        .args(UNSHARE)
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1");
    command.exec().to_string()
}

fn seconds(text: &str) -> Option<Duration> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()? * unit))
}

/// Calls `find` until it returns something, for at most [`BOUND`]. `None` if it never did.
pub(crate) fn wait_for<T>(find: impl FnMut() -> Option<T>) -> Option<T> {
    wait_for_within(BOUND, find)
}
