//! How soon a worker that died is replaced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Time;

/// A worker that served this long before it died did not die "soon after readiness".
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The pause after the second quick death; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// No pause is longer than this.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Counts quick deaths in a row, so that a program that cannot live does not eat the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashLoop {
    quick_deaths: u32,
}

impl CrashLoop {
    /// A worker that was ready since `ready` has died `now`: how long to wait before its
    /// replacement is started. Nothing after the first quick death, then 0.2 s, 0.4 s, … 30 s.
    pub(super) fn pause_after_death(&mut self, ready: Time, now: Time) -> Duration {
        if self.served(ready, now) {
            return Duration::ZERO;
        }
        let pause = match self.quick_deaths {
            0 => Duration::ZERO,
            n => FIRST_PAUSE
                .saturating_mul(1 << (n - 1).min(10))
                .min(LONGEST_PAUSE),
        };
        // Past the longest pause nothing changes any more.
        self.quick_deaths = (self.quick_deaths + 1).min(12);
        pause
    }

    /// A worker that was ready since `ready` serves no more, `now`, whatever the reason: whether it did
    /// so for long. Deaths before it are no row with those after it, then.
    pub(super) fn served(&mut self, ready: Time, now: Time) -> bool {
        let stable = now.saturating_sub(ready) >= STABLE_AFTER;
        if stable {
            self.quick_deaths = 0;
        }
        stable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_half_a_minute_and_forgets_after_a_long_life() {
        let mut crashes = CrashLoop::default();
        let ready = Duration::from_secs(100);
        let quick = ready + Duration::from_secs(1);
        let millis: Vec<u128> = (0..11)
            .map(|_| crashes.pause_after_death(ready, quick).as_millis())
            .collect();
        assert_eq!(
            millis,
            [
                0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        assert_eq!(
            crashes.pause_after_death(ready, ready + STABLE_AFTER),
            Duration::ZERO
        );
        assert_eq!(crashes.pause_after_death(ready, quick), Duration::ZERO);
        assert_eq!(crashes.pause_after_death(ready, quick).as_millis(), 200);
    }
}
