//! Clocks: monotonic time, which decisions use, and the time of day, which messages show.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The time since a fixed moment in the past, CLOCK_MONOTONIC of clock_gettime(2). It never runs
/// backwards, and is the same for all processes.
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map(Duration::from).unwrap_or_default() // cannot fail: every Linux has this clock
}

/// The time since the machine was booted, suspension included, CLOCK_BOOTTIME of clock_gettime(2). The
/// start time of a process in proc_pid_stat(5) is on this clock.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME);
    time.map(Duration::from).unwrap_or_default() // cannot fail from Linux 2.6.39 on
}

/// The time of day in seconds since 1970; 0 if the clock is set to an earlier time.
pub(crate) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A time in seconds since 1970 as `12:03:01`, in the local time zone, localtime_r(3).
pub(crate) fn local_time(at: u64) -> String {
    let parts = local(at);
    format!(
        "{:02}:{:02}:{:02}",
        parts.tm_hour, parts.tm_min, parts.tm_sec
    )
}

/// A time in seconds since 1970 as `2026-11-24 12:03:01`, in the local time zone.
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
    // SAFETY: localtime_r reads `at` and writes to `parts`, which both outlive the call. A zeroed `tm` is
    // valid.
    unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&at, &mut parts);
        parts
    }
}
