//! The pause before a worker that died is replaced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Time;

/// A death less than this long after readiness is a quick one.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The pause after the second quick death in a row. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Counts quick deaths in a row, so that a program that cannot live does not use up the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashLoop {
    quick_deaths: u32,
}

impl CrashLoop {
    /// Returns the pause after the death of a worker that was ready since `ready`: none after the
    /// first quick death, then 0.2 s, 0.4 s, … 30 s.
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
        // More deaths do not change the pause any more.
        self.quick_deaths = (self.quick_deaths + 1).min(12);
        pause
    }

    /// A worker that was ready since `ready` ceases to serve, for whatever reason. Returns whether it
    /// has served for long. If it has, the quick deaths before it do not count any more.
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
    fn pause_grows_to_half_a_minute_and_starts_again_after_a_long_life() {
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
