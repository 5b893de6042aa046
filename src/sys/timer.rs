//! A timer as a descriptor, timerfd_create(2). The timeout of ppoll(2) may be late by a thousandth of its
//! length, a millisecond per second; a timerfd is not.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A descriptor that becomes readable when its time is reached.
pub(crate) struct Timer {
    timer: TimerFd,
    /// The time that it is set to, on the caller's clock; `Some(None)` if it is off, and `None` if that is
    /// unknown, since setting it failed.
    set_to: Option<Option<Duration>>,
}

impl Timer {
    /// A timer that is off, on the lowest free number. Must be called when all sockets are on their numbers.
    pub(crate) fn new() -> nix::Result<Timer> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let set_to = Some(None);
        Ok(Timer { timer, set_to })
    }

    /// Sets the timer to `at`, which is later than `now`, or off for `None`. Makes no system call if it is set
    /// to that already.
    pub(crate) fn set(&mut self, at: Option<Duration>, now: Duration) -> nix::Result<()> {
        // A timer that has expired is set to a time in the past, so it is not equal to `at`.
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

    fn has_expired(timer: &Timer, wait: PollTimeout) -> bool {
        poll(&mut [PollFd::new(timer.as_fd(), PollFlags::POLLIN)], wait) == Ok(1)
    }

    #[test]
    fn expired_timer_is_readable_until_it_is_set_again() {
        let (now, soon) = (Duration::from_secs(7), Duration::from_millis(7001));
        let mut timer = Timer::new().unwrap();
        timer.set(Some(soon), now).unwrap();
        assert!(has_expired(&timer, PollTimeout::NONE));
        timer
            .set(Some(soon + Duration::from_secs(1000)), soon)
            .unwrap();
        assert!(!has_expired(&timer, PollTimeout::ZERO));
        timer.set(None, soon).unwrap();
        assert!(!has_expired(&timer, PollTimeout::ZERO));
    }

    #[test]
    fn timer_can_be_turned_off_after_setting_it_has_failed() {
        let now = Duration::from_secs(7);
        let mut timer = Timer::new().unwrap();
        timer
            .set(Some(now + Duration::from_millis(1)), now)
            .unwrap();
        assert!(timer.set(Some(Duration::MAX), now).is_err(), "too far away");
        assert!(has_expired(&timer, PollTimeout::NONE), "as set before");
        timer.set(None, now).unwrap();
        assert!(!has_expired(&timer, PollTimeout::ZERO));
    }
}
