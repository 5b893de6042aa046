//! The environment of workers: that of the supervisor, overridden by the envdir.

mod envdir;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod watch;

pub(crate) use envdir::Reading;

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::LiveConfig;
use crate::machine::{LiveSettings, Time};
use crate::sys;
use crate::types::Account;
use watch::EnvdirWatch;

/// The least time from one reading to the next that a changed file causes.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// The variables that name the user, environ(7).
const ACCOUNT: [&str; 4] = ["USER", "LOGNAME", "HOME", "SHELL"];

/// The sources of workers' variables, and the latest reading.
pub(crate) struct Environment {
    /// The supervisor's variables, as at its start.
    inherited: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    watch: Option<EnvdirWatch>,
    /// The time of the latest reading.
    read_at: Time,
    reading: Reading,
}

impl Environment {
    /// The environment of workers that run as `account`, or as the supervisor's user. The envdir is not read
    /// yet.
    pub(crate) fn new(dir: Option<PathBuf>, account: Option<&Account>) -> Environment {
        let mut inherited = sys::environment::to_pass_on();
        if let Some(account) = account {
            set_account(&mut inherited, account);
        }
        Environment {
            inherited,
            watch: dir.as_deref().and_then(EnvdirWatch::new),
            read_at: Time::ZERO,
            dir,
            reading: Reading::default(),
        }
    }

    /// The reading that the next program in this process resumes.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Takes the reading that the previous program in this process has saved.
    pub(crate) fn resume(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Reads the envdir again, and returns the settings that follow; `None` without an envdir. A file that
    /// cannot be read keeps its value.
    pub(crate) fn refresh(&mut self, configured: &LiveConfig, now: Time) -> Option<LiveSettings> {
        let dir = self.dir.as_deref()?;
        self.read_at = now;
        if let Some(watch) = &mut self.watch {
            watch.restart(); // before reading, so that no change is missed
        }
        let live = self.reading.refresh(dir, configured);
        Some(live.live_settings())
    }

    /// Whether the envdir has changed since the last call, or since the latest reading.
    pub(crate) fn changed(&self, now: Time) -> bool {
        self.may_read(now) && self.watch.as_ref().is_some_and(EnvdirWatch::has_changed)
    }

    /// A descriptor that is readable when the envdir has changed. `None` for a moment after each reading, since
    /// several files may be written one after the other.
    pub(crate) fn changes(&self, now: Time) -> Option<BorrowedFd<'_>> {
        self.watch
            .as_ref()
            .filter(|_| self.may_read(now))
            .map(EnvdirWatch::as_fd)
    }

    /// The end of that moment; `None` if it is over.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let waits = self.watch.is_some() && !self.may_read(now);
        waits.then(|| self.read_at + READ_INTERVAL)
    }

    fn may_read(&self, now: Time) -> bool {
        self.read_at == Time::ZERO || now >= self.read_at + READ_INTERVAL
    }

    /// All variables except those that the supervisor sets for each worker, as `NAME=VALUE`.
    pub(crate) fn variables(&self) -> Vec<CString> {
        let own = self.inherited.iter().map(|(name, value)| (name, value));
        let own = own.filter(|(name, _)| !self.reading.variables.contains_key(*name));
        own.chain(&self.reading.variables)
            .filter(|(name, _)| !sys::environment::is_set_for_workers(name))
            .filter_map(|(name, value)| {
                let mut variable = name.clone();
                variable.push("=");
                variable.push(value);
                CString::new(variable.into_vec()).ok() // has no NUL: inherited, or checked
            })
            .collect()
    }
}

fn set_account(variables: &mut Vec<(OsString, OsString)>, account: &Account) {
    variables.retain(|(name, _)| !ACCOUNT.iter().any(|known| name == known));
    let (home, shell) = (account.home.as_os_str(), account.shell.as_os_str());
    let name = account.name.as_os_str();
    let pairs = ACCOUNT.iter().zip([name, name, home, shell]);
    variables.extend(pairs.map(|(name, value)| (name.into(), value.to_owned())));
}
