//! Our own environment variables.

/// Removes variables. To be called while there is one thread.
pub(crate) fn unset(names: &[&str]) {
    for name in names {
        // SAFETY: nobody reads the environment at the same time, for there is one thread: that is
        // what `run` asks of its caller.
        unsafe { std::env::remove_var(name) };
    }
}
