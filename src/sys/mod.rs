//! System calls, and all `unsafe` code of this crate.
//!
//! The rest of the crate calls nix directly for what it wraps safely. This module has what needs
//! fork(2), descriptors by number, process-wide state, or a system call without a safe wrapper.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod datagram;
pub(crate) mod environment;
pub(crate) mod fd;
pub(crate) mod limits;
pub(crate) mod manager_pid;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod reexec;
pub(crate) mod signal_state;
pub(crate) mod signals;
pub(crate) mod timer;
pub(crate) mod unix_diag;
pub(crate) mod xattr;
