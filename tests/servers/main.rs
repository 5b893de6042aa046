//! Other servers under `start_server`: the recipes of docs/recipes.md, each under load across reloads.
//!
//! ```sh
//! tests/servers/install         # installs the servers: packages of Debian and PyPI
//! cargo test --test servers
//! ```
//!
//! The tests of a server that is not installed are skipped; with `START_SERVER_REQUIRE_SERVERS=1` they fail. Commands and
//! files are read from docs/recipes.md itself, so that all of it is tested.
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
