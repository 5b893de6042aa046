//! The log: one stream of tracing events, printed as the lines that people grep for.

mod layer;
mod lines;
mod sink;

pub use layer::init;
pub(crate) use lines::{line, tell};
pub(crate) use sink::{flush, into_pipe, linger, pending, to_stderr};
