//! A recipe of docs/recipes.md, the directory where it runs, its clients, and the tests of each server.

mod client;
mod drain;
mod load;
mod recipe;
mod run;
mod server;
mod server_dir;

pub(crate) use client::{Connection, Fate, Fault};
pub(crate) use drain::State;
pub(crate) use load::{Outcome, Slow};
pub(crate) use recipe::{Recipe, file};
pub(crate) use run::start;
pub(crate) use server::{Server, tests_of};
pub(crate) use server_dir::ServerDir;

/// Reports tests as skipped. With `START_SERVER_REQUIRE_SERVERS=1` that is a failure.
#[track_caller]
pub(crate) fn skipped(what: &str, why: &str) {
    let required = std::env::var("START_SERVER_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(!required, "{what} cannot be tested: {why}");
    server_starter_testing::skipped(&format!(
        "{what} was not tested: {why}. tests/servers/install installs it"
    ));
}
