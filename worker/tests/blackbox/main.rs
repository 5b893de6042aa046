//! Workers as a supervisor starts them: processes whose descriptors came through `execve`, and
//! whose environment says so.

#![allow(clippy::unwrap_used)] // in tests a panic is the report

mod bad_input;
mod examples;
mod notify;
mod sockets;
mod start;
mod stop;
