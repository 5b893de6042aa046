//! `start_server` holds a server's listening sockets and runs generations of the server on them:
//! a restart starts a new generation and, if and only if it comes up, stops the old one. Not a
//! connection is lost. This is the library behind the command; [`run`] is all of it.
//!
//! # The house
//!
//! | where | what |
//! |---|---|
//! | `main.rs`, `cli/` | the options, declared once (`cli/options.rs`); arguments in, exit status out; what `--generate` makes of them |
//! | [`Config`] (`config.rs`) | what is asked for, typed |
//! | [`machine`] | **the decisions**: a pure state machine, events in, actions out |
//! | `supervisor/` | **the loop**: turns the kernel's news into events, carries out the actions; `upgrade/`: hands all of it over to the next release |
//! | `sockets/` | the grammar of `--port` and `--path`; binding; what workers are told |
//! | `worker/` | starting a worker; its environment; what it says of itself |
//! | `files/` | pid file, status file, log file: each guards what it owns |
//! | `systemd/` | what systemd is told, and what it keeps for us |
//! | `log/` | the log lines, and how they are printed or sent to the journal |
//! | [`control`] | talking to a running supervisor: the control socket, `--restart`, `--stop`, `--status`, `--upgrade` |
//! | [`types`] | users, signals and spans of time, as people write them |
//! | `history.rs` | what has happened so far, for whoever asks |
//! | `error.rs` | what can keep a supervisor from starting |
//! | `sys/` | the thin layer over the kernel; the only `unsafe` |
//! | `fuzzing.rs` | what `fuzz/` throws garbage at; each `fuzz.rs` is beside what it tests |
//!
//! To know how it works, read `machine/mod.rs`, then `supervisor/mod.rs`.
//!
//! # Words
//!
//! The *supervisor* is this program. A *worker* is a process of the server; the workers of one
//! start make a *generation*. A *reload* replaces a generation by the next. A worker is *ready*
//! when it counts as started; an old one that has been told to leave *drains*. A *socket spec* is
//! what `--port` says, and the *key* is the name under which workers find that socket.

pub mod control;
pub mod machine;
pub mod types;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

mod config;
mod error;
mod files;
mod history;
mod log;
mod sockets;
mod supervisor;
mod sys;
mod systemd;
mod worker;

pub use config::{
    CommandLine, Config, DEFAULT_AUTO_RESTART_INTERVAL, DEFAULT_CHECK_TIMEOUT,
    DEFAULT_START_TIMEOUT, LiveConfig,
};
pub use error::Error;
pub use files::LogTarget;
pub use log::{Destination, init as init_log};
pub use sockets::{AddressSpec, Host, PathAccess, PathSpec, PortSpec};
pub use supervisor::{run, try_state};
#[doc(hidden)]
pub use sys::signals::ignore_file_size_signal;
