//! The thin layer over the kernel, and the only place with `unsafe` in it.
//!
//! What nix wraps safely is used from there, all over the house. Here is the rest: what needs
//! fork(2), raw descriptor numbers, process-wide state, or a system call without a wrapper.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod datagram;
pub(crate) mod environment;
mod execvp;
pub(crate) mod fd;
pub(crate) mod limits;
pub(crate) mod manager_pid;
mod pid_env;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod reexec;
pub(crate) mod signal_state;
pub(crate) mod signals;
pub(crate) mod timer;
pub(crate) mod unix_diag;
pub(crate) mod xattr;
