//! Our own environment variables.

use std::ffi::OsString;

/// Messages from our service manager to us alone. Workers that took them for theirs would speak in
/// our name.
const OURS_ALONE: [&str; 10] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "MAINPID",
    "MAINPIDFDID",
    "FDSTORE",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Our environment as other programs may have it.
pub(crate) fn to_pass_on() -> Vec<(OsString, OsString)> {
    let own = std::env::vars_os();
    own.filter(|(name, _)| !OURS_ALONE.iter().any(|ours| name == ours))
        .collect()
}

/// Sets a variable. To be called while there is one thread.
pub(crate) fn set(name: &str, value: &str) {
    // SAFETY: there is one thread, as for `unset`.
    unsafe { std::env::set_var(name, value) };
}

/// Removes variables. To be called while there is one thread.
pub(crate) fn unset(names: &[&str]) {
    for name in names {
        // SAFETY: nobody reads the environment at the same time, for there is one thread: that is
        // what `run` asks of its caller.
        unsafe { std::env::remove_var(name) };
    }
}
