//! Child processes: fork(2), exec(3), wait(2) and kill(2).

mod execvp;
mod pid_env;
mod spawn;

pub(crate) use spawn::{ChildError, ChildStep, Program, spawn};

use nix::errno::Errno;
use rustix::io::retry_on_intr;
use rustix::process::WaitOptions;

use crate::types::{Pid, Signal};

/// Reaps a child that has ended, and returns its pid and raw wait status, wait(2); `None` if there is none.
///
/// The log has the raw status. nix's `waitpid` fails for a child that was killed by a real-time signal.
pub(crate) fn next_dead_child() -> Option<(Pid, i32)> {
    let ended = retry_on_intr(|| rustix::process::wait(WaitOptions::NOHANG));
    let (pid, status) = ended.ok()??; // ECHILD: there are no children
    Some((pid.as_raw_pid(), status.as_raw()))
}

/// Sends a signal to a child that has not been reaped, kill(2). Not nix's `kill`, which has no real-time
/// signals.
pub(crate) fn kill(pid: Pid, signal: Signal) -> Result<(), Errno> {
    // SAFETY: accesses no memory.
    Errno::result(unsafe { libc::kill(pid, signal.number()) }).map(drop)
}

/// Sends a signal to a child that leads a process group of its own, and to all processes in that group.
pub(crate) fn kill_group(leader: Pid, signal: Signal) -> Result<(), Errno> {
    // SAFETY: accesses no memory.
    Errno::result(unsafe { libc::kill(-leader, signal.number()) }).map(drop)
}

/// How a child ended, in words: `exit code 1`, `killed by KILL`.
pub(crate) fn describe_status(status: i32) -> String {
    match killed_by(status) {
        Some(signal) => format!("killed by {signal}"),
        None => format!("exit code {}", exit_code(status)),
    }
}

/// How a worker ended, in words. `None` if it was not a child: only its parent gets the status.
pub(crate) fn describe_end(status: Option<i32>) -> String {
    status.map_or("it was not our child".to_owned(), describe_status)
}

/// The signal that killed a child, from its raw wait status; `None` if it has exited.
pub(crate) fn killed_by(status: i32) -> Option<Signal> {
    Signal::from_number(libc::WTERMSIG(status)).filter(|_| libc::WIFSIGNALED(status))
}

/// The exit status of a child that was not killed, from its raw wait status.
pub(crate) fn exit_code(status: i32) -> i32 {
    libc::WEXITSTATUS(status)
}
