//! Clocks: the one that only goes forward, and the time of day, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The time since some moment before the machine's start. It never runs backwards, and is the same
/// for all processes, CLOCK_MONOTONIC of clock_gettime(2).
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map(Duration::from).unwrap_or_default() // Linux has always had it
}

/// The time since the machine was booted, sleep included, CLOCK_BOOTTIME: what /proc counts the start
/// of a process by.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME);
    time.map(Duration::from).unwrap_or_default() // Linux 2.6.39
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// `12:03:01` in the local time zone, localtime_r(3), of a moment in seconds since 1970.
pub(crate) fn local_time(at: u64) -> String {
    let parts = local(at);
    format!(
        "{:02}:{:02}:{:02}",
        parts.tm_hour, parts.tm_min, parts.tm_sec
    )
}

/// `2026-11-24 12:03:01`, the same with its date.
pub(crate) fn local_date(at: u64) -> String {
    let parts = local(at);
    format!(
        "{}-{:02}-{:02} {}",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        local_time(at)
    )
}

fn local(at: u64) -> libc::tm {
    let at = at.try_into().unwrap_or_default();
    // SAFETY: localtime_r reads `at` and writes to `parts`, which outlive it, and a zeroed tm is a
    // valid one.
    unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&at, &mut parts);
        parts
    }
}
