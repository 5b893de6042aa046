//! Real servers under `start_server`: the recipes of docs/recipes.md, each under load across reloads.
//!
//! ```sh
//! tests/servers/install         # the servers: Debian's packages, and some of PyPI's in the target directory
//! cargo test --test servers
//! ```
//!
//! A server that is not installed is skipped loudly; with `START_SERVER_REQUIRE_SERVERS=1` that is a failure. Commands and
//! files come from docs/recipes.md itself, so it cannot say anything that was not tested. As in the other suites nothing
//! waits for luck: every wait is for an event, with a bound far above what it takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod go;
mod libsystemd;
mod node;
mod perl;
mod python;
mod readme;
mod ruby;
mod rust;
mod web;
