//! Soak: one supervisor under load for a given time, while random actions disturb it from outside: reloads, bursts of
//! HUPs, upgrades in place, workers that fail, hang and are killed, a full disk, rotated logs, an envdir that changes and
//! vanishes, clients with invalid messages. No request may fail. At intervals the actions stop, and the supervisor must
//! come back to its steady state: one generation, the same descriptors, no more memory, no zombie, no file left.
//!
//! A seed determines the actions, their order, and the behaviour of each generation, but not the timing.
//!
//! ```sh
//! cargo test --test soak                        # some seconds, always the same seed
//! START_SERVER_SOAK=30m START_SERVER_SOAK_SEED=7 cargo test --release --test soak
//! START_SERVER_SOAK_RELOADS=10000 cargo test --release --test soak   # reloads only
//! ```
//!
//! `START_SERVER_SOAK_VERBOSE=1` shows each action.
//!
//! Changes of the clock are left out. The time of day cannot be set for one process: a time namespace has only a
//! monotonic clock of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod actions;
mod load;
mod random;
mod report;
mod run;
mod server;
mod steady_state;
mod watch;
mod worker;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use server_starter_testing::{run_suite, say, wait_for_within};

/// How long any event may take. The longest one is a series of workers that are not ready in time.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// The plan of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    /// The number of reloads, if there are to be no other actions.
    pub(crate) reloads: Option<u64>,
    /// Whether a small file system can be mounted and filled.
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
        Ok(plan) => run::soak(&plan),
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
        say(&format!("LEFT OUT: the full disk: {why}"));
    }
    Ok(plan)
}

/// Executes this program again in a mount namespace of its own, which ends with it. Returns only if that is not possible,
/// with the reason.
fn enter_namespace() -> String {
    if !nix::unistd::geteuid().is_root() {
        return "that needs root".to_owned();
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
