//! The files that a supervisor writes: pid file, status file, log file. Each type changes and removes only
//! files that it has made.

mod file_id;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod log_command;
mod log_file;
mod pid_file;
mod removal;
mod safe_open;
mod stale_status;
mod status_file;

pub(crate) use log_command::SavedCommand;
pub(crate) use log_file::LogFile;
pub use log_file::LogFileSpec;
pub(crate) use pid_file::{Holder, LockedPidFile, PidFile, read_holder};
pub(crate) use removal::RemovalWatch;
pub(crate) use stale_status::{MAX_GENERATION, StaleStatus, StatusEntry};
pub(crate) use status_file::{StatusFile, read_status};
