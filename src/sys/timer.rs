//! Waking up on time. The time-out of ppoll(2) may be late by a thousandth of itself, which is a
//! millisecond in a second; timerfd_create(2) is not.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A descriptor that becomes readable when the time has come.
pub(crate) struct Timer {
    timer: TimerFd,
    /// What it is set to, a moment on the caller's clock or never; none: nobody knows.
    set_to: Option<Option<Duration>>,
}

impl Timer {
    /// On the lowest free number: nobody must want that any more.
    pub(crate) fn new() -> nix::Result<Timer> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let set_to = Some(None);
        Ok(Timer { timer, set_to })
    }

    /// Sets it to go off at `at`, which is later than `now`; none: never. Nothing is done if that is
    /// what it is set to.
    pub(crate) fn set(&mut self, at: Option<Duration>, now: Duration) -> nix::Result<()> {
        // One that has gone off is set to the past, and so to another time than is asked for now.
        if self.set_to == Some(at) {
            return Ok(());
        }
        self.set_to = None;
        match at {
            Some(at) => {
                let left = TimeSpec::from_duration(at.saturating_sub(now));
                self.timer
                    .set(Expiration::OneShot(left), TimerSetTimeFlags::empty())?;
            }
            None => self.timer.unset()?,
        }
        self.set_to = Some(at);
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_ringing(timer: &Timer, wait: PollTimeout) -> bool {
        poll(&mut [PollFd::new(timer.as_fd(), PollFlags::POLLIN)], wait) == Ok(1)
    }

    #[test]
    fn it_rings_until_it_is_set_anew() {
        let (now, soon) = (Duration::from_secs(7), Duration::from_millis(7001));
        let mut timer = Timer::new().unwrap();
        timer.set(Some(soon), now).unwrap();
        assert!(is_ringing(&timer, PollTimeout::NONE));
        timer
            .set(Some(soon + Duration::from_secs(1000)), soon)
            .unwrap();
        assert!(!is_ringing(&timer, PollTimeout::ZERO));
        timer.set(None, soon).unwrap();
        assert!(!is_ringing(&timer, PollTimeout::ZERO));
    }

    #[test]
    fn what_could_not_be_set_is_not_taken_to_be() {
        let now = Duration::from_secs(7);
        let mut timer = Timer::new().unwrap();
        timer
            .set(Some(now + Duration::from_millis(1)), now)
            .unwrap();
        assert!(timer.set(Some(Duration::MAX), now).is_err(), "too far away");
        assert!(is_ringing(&timer, PollTimeout::NONE), "as set before");
        timer.set(None, now).unwrap();
        assert!(!is_ringing(&timer, PollTimeout::ZERO));
    }
}
