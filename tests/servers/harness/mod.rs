//! What the tests are written with: a recipe of docs/recipes.md, a place where it runs, and its clients.

mod client;
mod drain;
mod load;
mod place;
mod recipe;
mod run;
mod server;

use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) use client::{Connection, Fate, Fault};
pub(crate) use drain::State;
pub(crate) use load::{Outcome, Slow};
pub(crate) use place::{Place, Running};
pub(crate) use recipe::{Recipe, file};
pub(crate) use run::start;
pub(crate) use server::{Server, tests_of};

/// Far above what anything here takes, on a busy machine, too.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Waits for something to come about. Says what when it does not.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < BOUND, "after {BOUND:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that a test could not run here. With `START_SERVER_REQUIRE_SERVERS=1` that is a failure.
#[track_caller]
pub(crate) fn skipped(what: &str, why: &str) {
    let required = std::env::var("START_SERVER_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(!required, "{what} cannot be tested: {why}");
    tell(&format!(
        "\n*** SKIPPED: {what} was not tested: {why}. tests/servers/install gets it\n"
    ));
}

/// Shows something of tests that pass, too: the test runner captures what eprintln says.
pub(crate) fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
