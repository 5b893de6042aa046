//! What `--stop` says and waits for, however it reaches the supervisor.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::sys::pidfd::PidFd;
use crate::types::{Pid, Seconds};

/// The line that Server::Starter's users know.
pub(super) fn announce(supervisor: Pid) {
    let own = std::process::id();
    tracing::info!("stop_server (pid:{own}) stopping now (pid:{supervisor})...");
}

pub(super) fn timed_out(timeout: Option<Duration>, supervisor: Pid) -> Error {
    let waited = Seconds(timeout.unwrap_or_default());
    Error::TimedOut(format!(
        "after {waited} s the supervisor (pid:{supervisor}) is still waiting for its workers"
    ))
}

/// Waits for the end of a process, but not longer than `timeout`; says whether it has ended.
pub(super) fn ends_within(process: &PidFd, timeout: Duration) -> bool {
    // Rounded up, so that a wait is never a busy one.
    let millis = timeout.as_millis().saturating_add(1);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            ended => return matches!(ended, Ok(1..)),
        }
    }
}
