//! The machine, its services and their clients.

mod client;
mod machine;
mod own;
mod service;

pub(crate) use machine::Machine;
use own::Own;
pub(crate) use service::Service;

use std::collections::BTreeSet;
use std::sync::Mutex;

use server_starter_testing::skipped;

/// Runs a test on one version of systemd, or reports it as skipped.
pub(crate) fn on(version: &'static str, test: fn(&'static Machine)) {
    match Machine::of(version) {
        Ok(machine) => test(machine),
        Err(why) => skipped_once(version, &why),
    }
}

/// Runs a test on a machine of its own, where `start_server` is not installed.
pub(crate) fn on_own(version: &'static str, name: &str, test: fn(&'static Machine)) {
    match Own::boot(version, name) {
        Ok(own) => test(own.machine),
        Err(why) => skipped_once(version, &why),
    }
}

/// Reports the tests of a version as skipped, once.
fn skipped_once(version: &'static str, why: &str) {
    static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(version) {
        let version = version.trim_start_matches('v');
        skipped(&format!("tests on systemd {version} did not run: {why}"));
    }
}
