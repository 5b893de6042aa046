//! What the tests are written with: a booted systemd, a service in it, and its clients.

mod client;
mod lab;
mod own;
mod service;

pub(crate) use client::{Load, Outcome};
pub(crate) use lab::{Finished, Lab};
use own::Own;
pub(crate) use service::Service;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Far above what anything here takes, on a busy machine, too.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Runs a test on one version of systemd, or says loudly that it does not.
pub(crate) fn on(version: &'static str, test: fn(&'static Lab)) {
    match Lab::of(version) {
        Ok(lab) => test(lab),
        Err(why) => skipped(version, &why),
    }
}

/// The same on a machine of its own, which has nothing of ours on it.
pub(crate) fn on_own(version: &'static str, name: &str, test: fn(&'static Lab)) {
    match Own::boot(version, name) {
        Ok(own) => test(own.lab),
        Err(why) => skipped(version, &why),
    }
}

/// Once for each version is enough. Not by eprintln, which is shown of failed tests only.
fn skipped(version: &'static str, why: &str) {
    static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(version) {
        let version = version.trim_start_matches('v');
        let line = format!("\n*** SKIPPED: tests on systemd {version} did not run: {why}\n\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
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
