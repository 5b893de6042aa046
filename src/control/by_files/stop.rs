//! TERM, then wait until the supervisor has ended.

use std::path::Path;
use std::time::Duration;

use super::target::Target;
use crate::control::stop_common::{announce, timed_out};
use crate::control::{Deadline, LONG};
use crate::error::Error;
use crate::types::Signal;

pub(in crate::control) fn stop(pid_file: &Path, timeout: Option<Duration>) -> Result<(), Error> {
    let deadline = Deadline::after(timeout);
    let target = Target::find(pid_file)?;
    announce(target.pid);
    target.signal(Signal::TERM)?;
    while let Some(timeout) = deadline.slice(LONG) {
        if target.ends_within(timeout) {
            return Ok(());
        }
    }
    Err(timed_out(timeout, target.pid))
}
