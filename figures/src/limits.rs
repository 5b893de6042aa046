//! The limit of open files, getrlimit(2): high for those who measure and are measured, but for ours.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a shell usually starts a program with.
const USUAL: u64 = 1024;

/// Raises this process's soft limit to as much of `wanted` as the hard limit allows; what it is then.
pub(crate) fn raise(wanted: u64) -> Result<u64, String> {
    let (soft, hard) = get()?;
    if soft >= wanted {
        return Ok(soft);
    }
    let raised = wanted.min(hard);
    set(raised, hard)?;
    Ok(raised)
}

/// Runs `action` with the usual soft limit: what is started in it has to raise its own.
pub(crate) fn as_usual<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    let (soft, hard) = get()?;
    set(soft.min(USUAL), hard)?;
    let result = action();
    set(soft, hard)?;
    Ok(result)
}

fn get() -> Result<(u64, u64), String> {
    getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("limit of open files: {error}"))
}

fn set(soft: u64, hard: u64) -> Result<(), String> {
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
        .map_err(|error| format!("limit of open files, {soft}: {error}"))
}
