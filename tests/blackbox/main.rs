//! Black-box tests: a supervisor, real workers, and what can be seen from outside.
//!
//! They drive the binary named by `START_SERVER` (default: the one just built), so that one suite tells what this
//! program and the original do alike:
//!
//! ```sh
//! cargo test --test blackbox
//! START_SERVER=/usr/bin/start_server cargo test --test blackbox -- --skip extensions::
//! ```
//!
//! Tests of rules that differ from the original on purpose, or that use what it lacks, sit in a `mod extensions` of their
//! file. Nothing waits for luck: every wait is for an event, with a bound far above what it takes, and says on failure
//! what it saw instead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

mod auto_restart;
mod bad_input;
mod check_cmd;
mod command_line;
mod commands;
mod control;
mod daemonize;
mod envdir;
mod generate;
mod hazards;
mod hostile_worker;
mod hup_storm;
mod identity;
mod inherit;
mod kill_old_delay;
mod lifecycle;
mod limits;
mod listen_fds;
mod log_file;
mod notify;
mod notify_socket;
mod paths;
mod pid1;
mod pid_file;
mod ports;
mod ports_served;
mod races;
mod readiness;
mod reload;
mod signals;
mod spoofing;
mod status_file;
mod stop;
mod takeover;
mod takeover_impostors;
mod takeover_refused;
mod under_load;
mod upgrade;
mod upgrade_refused;
mod upgrade_state;
mod worker_environment;
mod worker_watchdog;
