//! What the tests are written with: a booted systemd, a service in it, and its clients.

mod client;
mod lab;
mod service;

pub(crate) use client::{Load, Outcome};
pub(crate) use lab::{Finished, Lab};
pub(crate) use service::Service;

use std::io::Write;
use std::time::{Duration, Instant};

/// Far above what anything here takes, on a busy machine, too.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Runs a test on one version of systemd, or says loudly that it does not.
pub(crate) fn on(version: &'static str, test: fn(&'static Lab)) {
    match Lab::of(version) {
        Ok(lab) => test(lab),
        // Not eprintln, which is shown of failed tests only.
        Err(why) => drop(writeln!(
            std::io::stderr(),
            "SKIPPED: a test on systemd {version} did not run: {why}"
        )),
    }
}

/// Waits for something to come about. Says what when it does not.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < BOUND, "after {BOUND:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
