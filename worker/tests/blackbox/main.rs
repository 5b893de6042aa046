//! Workers as a supervisor starts them: processes that inherit descriptors through `execve`, and
//! whose environment names these descriptors.

#![allow(clippy::unwrap_used)] // in tests a panic is the report

mod bad_input;
mod examples;
mod notify;
mod sockets;
mod start;
mod stop;
