//! Users, signals and times as they are written in options, and process ids.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identity;
mod seconds;
mod signal;

pub use identity::{Account, Identity, find_group, find_user};
pub(crate) use seconds::Seconds;
pub use seconds::parse_seconds;
pub use signal::Signal;

/// A process id; those of processes are 1 or higher.
pub(crate) type Pid = i32;
