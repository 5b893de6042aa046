//! The units of the trade, as people write them: processes, users, signals, spans of time.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identity;
mod seconds;
mod signal;

pub use identity::{Account, Identity, find_group, find_user};
pub(crate) use seconds::Seconds;
pub use seconds::parse_seconds;
pub use signal::Signal;

/// A process id, as the kernel counts them.
pub(crate) type Pid = i32;
