//! System calls, and all `unsafe` code of this crate.
//!
//! The rest of the crate calls nix directly for what it wraps safely. This module has what needs
//! fork(2), descriptors by number, process-wide state, or a system call that nix does not wrap. rustix wraps
//! some of those. libc is called for the others: fork(2) and exec(3) without allocation, kill(2) with real-time
//! signals, rt_sigaction(2) with all 64 signals, recvmsg(2) (see `datagram.rs`), close_range(2),
//! localtime_r(3), getauxval(3), and fcntl(2) on a number that may not be open.
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
