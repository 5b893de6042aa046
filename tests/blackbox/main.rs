//! Black-box tests: a supervisor with real workers, seen from outside.
//!
//! They drive the program named by `START_SERVER`, by default the one just built. One suite shows what this program and
//! Perl's have in common:
//!
//! ```sh
//! cargo test --test blackbox
//! START_SERVER=/usr/bin/start_server cargo test --test blackbox -- --skip extensions::
//! ```
//!
//! Tests of what Perl's program does not have, or does otherwise, are in a module `extensions` of their file. `fixtures`
//! has the supervisors that tests begin with; the crate `server_starter_testing` has the rest, and an example.
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
mod told_once;
mod under_load;
mod upgrade;
mod upgrade_refused;
mod upgrade_state;
mod worker_environment;
mod worker_watchdog;
