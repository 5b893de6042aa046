//! The time of day, for people.

/// `12:03:01` in the local time zone, localtime_r(3).
pub(crate) fn local_time() -> String {
    // SAFETY: time(2) with a null pointer writes nothing; localtime_r writes to `parts`, which
    // outlives it, and a zeroed tm is a valid one.
    let parts = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut parts);
        parts
    };
    format!(
        "{:02}:{:02}:{:02}",
        parts.tm_hour, parts.tm_min, parts.tm_sec
    )
}
