//! What makes a test a few lines: set up a supervisor in a directory of its own, watch it, leave nothing behind.

mod finished;
mod lines;
mod namespace;
mod net;
mod process;
pub(crate) mod release;
mod setup;
mod stranger;
mod supervisor;
mod voice;
mod worker;

use std::time::{Duration, Instant};

pub(crate) use finished::{Finished, Running};
pub(crate) use namespace::{Inmate, have_pid_namespaces};
pub(crate) use net::{Client, connects, exports, have_ipv6};
pub(crate) use process::Process;
pub(crate) use setup::{Setup, binary};
pub(crate) use stranger::{
    Bait, Nuisance, OTHER, STRANGER, as_stranger, as_user, have_strangers, like_tmp, what_is,
};
pub(crate) use supervisor::Supervisor;
pub(crate) use voice::{NOTIFY, Voice, serving, starting};
pub(crate) use worker::{FAILS, FAILS_ON_DEMAND, GRACEFUL, SLEEPS, STUBBORN, hello};

/// How long any event may take. Far above what it needs on a busy machine; only a failing test ever waits that long.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Looks until `found` has something to show, for at most [`BOUND`]; then gives up with `None`.
pub(crate) fn look_for<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(thing) = found() {
            return Some(thing);
        }
        if start.elapsed() > BOUND {
            return None;
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// Waits until `holds`; a panic names `what` it was, the supervisor's guard shows the rest.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(
        look_for(|| holds().then_some(())).is_some(),
        "not within {BOUND:?}: {what}"
    );
}

/// Says, past the capture of the test runner, that a test could not run here.
pub(crate) fn skipped(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
