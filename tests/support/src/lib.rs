//! What the test suites share: the supervisor under test, its workers, its clients, and what can be seen of them.
//!
//! A test starts a supervisor in a directory of its own, waits for events and asserts. Nothing sleeps: each wait is for
//! an event, and has a bound far above what the event takes. When the test ends, all of its processes are killed and its
//! files are removed; when it fails, its report has the log, the files and the processes of the supervisor. A whole
//! test of `tests/blackbox`:
//!
//! ```ignore
//! use server_starter_testing::workers::GRACEFUL;
//!
//! use crate::fixtures::supervisor;
//!
//! #[test]
//! fn hup_replaces_the_worker() {
//!     let s = supervisor(&["--port=127.0.0.1:PORT"]).sh(GRACEFUL).start();
//!     let old = s.wait_generation(1);
//!     s.hup();
//!     s.wait_line("received HUP, spawning a new worker");
//!     let new = s.wait_generation(2);
//!     assert_ne!(old, new);
//!     s.stop();
//! }
//! ```
//!
//! | for | see |
//! |---|---|
//! | options, worker, environment, start | [`SupervisorBuilder`] |
//! | log lines, generations, files, signals, the end, a second start | [`Supervisor`] |
//! | a command that runs or has ended | [`Running`], [`Output`] |
//! | a worker, by /proc | [`Process`] |
//! | workers that are shell scripts | [`workers`] |
//! | requests and load | [`Client`], [`HttpLoad`], [`Load`] |
//! | the sockets that a worker was given | [`exports`] |
//! | notifications, sd_notify(3) | [`NotifyClient`], [`NotifyServer`] |
//! | the control socket | [`control`] |
//! | upgrades in place | [`upgrade`] |
//! | a container: the supervisor as process 1 | [`PidNamespace`] |
//! | an attacker on the same machine | [`PlantedFile`], [`RaceAttacker`], [`as_other_user`] |
//! | a suite with a `main` of its own | [`run_suite`], [`WorkerSockets`] |
#![allow(clippy::unwrap_used, clippy::expect_used)] // in tests a panic is the report

mod builder;
pub mod control;
mod http;
mod killed;
mod lines;
mod load;
mod notify;
mod other_user;
mod output;
mod pid_namespace;
mod process;
mod program;
mod report;

mod sockets;
mod supervisor;
mod test_dir;
pub mod upgrade;
mod wait;
mod worker_sockets;
pub mod workers;

pub use builder::SupervisorBuilder;
pub use http::{Client, HttpLoad, HttpOutcome, connect_tcp, connect_unix};
pub use load::{Load, LoadState};
pub use notify::{NotifyClient, NotifyServer};
pub use other_user::{
    OTHER_USER, PlantedFile, RaceAttacker, THIRD_USER, as_other_user, file_identity,
    other_user_is_available,
};
pub use output::{Output, Running, append_to, last_lines};
pub use pid_namespace::{NamespaceProcess, PidNamespace};
pub use process::Process;
pub use program::{Program, clear_settings};
pub use report::{run_suite, say, skipped, worker_command};

pub use sockets::{exports, free_port, have_ipv6};
pub use supervisor::Supervisor;
pub use test_dir::TestDir;
pub use wait::{BOUND, eventually, expect, wait_for, wait_for_within};
pub use worker_sockets::WorkerSockets;
