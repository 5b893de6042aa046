//! The log: tracing events, printed as lines or sent to the journal with their fields.

mod exit_hint;
mod journal;
mod layer;
mod message_id;
mod messages;
mod sink;

pub use journal::LogTarget;
pub(crate) use journal::{connect, stderr_is_the_journal};
pub use layer::init;
pub(crate) use messages::{entry, not_spawned, taking_over, upgrade_refused, upgraded};
pub(crate) use sink::{Queue, flush, into_pipe, linger, pending, resume, save, to_stderr};
