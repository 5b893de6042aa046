//! `start_server` holds a server's listening sockets and runs generations of the server on them:
//! a restart starts a new generation and, if and only if it comes up, stops the old one. No
//! connection is lost. This is the library behind the command: [`run`] does what a [`Config`] says.
//!
//! # Stability
//!
//! Cargo's rules for versions hold for everything on this page. [`Config`] may get more fields and [`Error`]
//! more variants in any release. What this page does not show is for the command alone, and may change at
//! any time.
//!
//! # Modules
//!
//! `cargo doc --document-private-items` has a page for each.
//!
//! | module | contents |
//! |---|---|
//! | `main.rs`, `cli/` | the command: options, declared once (`cli/options.rs`); exit status; manual, completions and units made from the options |
//! | `config.rs` | [`Config`]: the options as types |
//! | `machine/` | **the decisions**: a pure state machine, events in, actions out |
//! | `supervisor/` | **the loop**: turns what the kernel reports into events, carries out the actions; `upgrade/` replaces the program by its next release |
//! | `sockets/` | what `--port` and `--path` mean; inherited sockets; binding; the variables that tell workers of their sockets |
//! | `worker/` | how a worker is started; its environment; its notification socket |
//! | `takeover/` | the workers of a supervisor that was killed: which processes they are, and their sockets |
//! | `files/` | pid file, status file, log file |
//! | `systemd/` | notifications to systemd; its fd store |
//! | `log/` | the log's messages, printed as lines or sent to the journal with their fields |
//! | `control/` | the control socket, and its clients: `--restart`, `--stop`, `--status`, `--upgrade` |
//! | `history.rs` | what has happened so far: for `--status`, and for systemd's status line |
//! | `types/` | users, signals and times, as they are written in options |
//! | `error.rs` | [`Error`]: why a supervisor could not start, or a command failed |
//! | `sys/` | system calls, wrapped; all `unsafe` code |
//! | `fuzzing.rs` | the functions that `fuzz/` calls; each `fuzz.rs` is beside what it tests |
//!
//! To see how it works, read `machine/mod.rs`, then `supervisor/mod.rs`.
//!
//! # Terms
//!
//! The *supervisor* is this program. A *worker* is a process of the server; the workers of one
//! start are a *generation*. A *reload* replaces a generation by the next. A worker is *ready*
//! when it counts as started. An old worker that has been told to leave *drains*: it finishes the
//! requests it has. A *socket spec* is the value of `--port` or `--path`, and the *key* is the name under
//! which workers find that socket. A *notification* is a message of a worker to the supervisor, or of the
//! supervisor to systemd, sd_notify(3).

mod config;
mod control;
mod error;
mod files;
mod history;
mod log;
#[allow(unreachable_pub)] // `pub` marks what the rest of this crate uses
mod machine;
mod sockets;
mod supervisor;
mod sys;
mod systemd;
mod takeover;
mod types;
mod worker;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

pub use config::{
    CommandLine, Config, DEFAULT_AUTO_RESTART_INTERVAL, DEFAULT_CHECK_TIMEOUT,
    DEFAULT_START_TIMEOUT, LiveConfig,
};
pub use error::Error;
pub use files::LogFileSpec;
pub use log::{LogTarget, init as init_log};
pub use machine::Readiness;
pub use sockets::{AddressSpec, Host, PathAccess, PathSpec, PortSpec};
pub use supervisor::run;
pub use types::{Account, Identity, Signal};

/// What the command `start_server` needs besides, which is a crate of its own in this package. No part of
/// the stable interface.
#[doc(hidden)]
pub mod command {
    pub use crate::control::{
        ControlAddress, Format, Restart, Status, Stop, Until, Upgrade, restart, status, stop,
        upgrade,
    };
    pub use crate::supervisor::preflight;
    pub use crate::sys::signals::ignore_file_size_signal;
    pub use crate::types::{find_group, find_user, parse_seconds};
}
