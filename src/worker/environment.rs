//! The environment of workers: that of the supervisor, overridden by the envdir.
//!
//! An envdir has a file per variable; the first line is the value. It is read again before each start of a
//! worker. A variable whose file was removed gets its original value, or none.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::watch::Watch;
use crate::config::LiveConfig;
use crate::error::DisplayIoError;
use crate::machine::{LiveSettings, Time};
use crate::sys;
use crate::types::Account;

type Variables = BTreeMap<OsString, OsString>;

/// No program can be given a longer variable: MAX_ARG_STRLEN of execve(2).
const LONGEST: u64 = 128 * 1024;

/// The least time between two readings that changed files cause.
const REST: Duration = Duration::from_millis(100);

/// The variables that name the user, environ(7).
const ACCOUNT: [&str; 4] = ["USER", "LOGNAME", "HOME", "SHELL"];

/// The sources of workers' variables, and the latest reading.
pub(crate) struct Environment {
    /// The supervisor's own, as at its start.
    inherited: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    watch: Option<Watch>,
    /// The time of the latest reading.
    read_at: Time,
    reading: Reading,
}

/// The latest reading of the envdir. Upgrades keep it: the envdir may not be there at that moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    #[serde(serialize_with = "to_pairs", deserialize_with = "from_pairs")]
    variables: Variables,
    /// What could not be read. A later reading with the same complaint does not log it again.
    complaints: Vec<String>,
}

/// Saved as pairs: the keys of a JSON object would have to be text.
fn to_pairs<S: Serializer>(variables: &Variables, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(variables)
}

fn from_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
    let pairs = Vec::<(OsString, OsString)>::deserialize(deserializer)?;
    Ok(pairs.into_iter().collect())
}

impl Environment {
    pub(crate) fn new(dir: Option<PathBuf>, account: Option<&Account>) -> Environment {
        let mut inherited = sys::environment::to_pass_on();
        if let Some(account) = account {
            inherited.retain(|(name, _)| !ACCOUNT.iter().any(|ours| name == ours));
            let (home, shell) = (account.home.as_os_str(), account.shell.as_os_str());
            let name = account.name.as_os_str();
            let values = [name, name, home, shell];
            let pairs = ACCOUNT.iter().zip(values);
            inherited.extend(pairs.map(|(name, value)| (name.into(), value.to_owned())));
        }
        Environment {
            inherited,
            watch: dir.as_deref().and_then(Watch::new),
            read_at: Time::ZERO,
            dir,
            reading: Reading::default(),
        }
    }

    /// The reading that the next program in this process resumes.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    pub(crate) fn resume(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Reads the envdir again, and returns the settings that follow; `None` without an envdir. A file that cannot be
    /// read keeps its value.
    pub(crate) fn refresh(&mut self, configured: &LiveConfig, now: Time) -> Option<LiveSettings> {
        let dir = self.dir.as_deref()?;
        self.read_at = now;
        if let Some(watch) = &mut self.watch {
            watch.renew(); // before reading: what changes meanwhile is news
        }
        let mut complaints = Vec::new();
        let before = std::mem::take(&mut self.reading);
        let variables = read_dir(dir, before.variables, &mut complaints);
        let live_settings = overlay(configured, &variables, dir, &mut complaints).live_settings();
        for complaint in complaints.iter().filter(|c| !before.complaints.contains(c)) {
            tracing::warn!("{complaint}");
        }
        self.reading = Reading {
            variables,
            complaints,
        };
        Some(live_settings)
    }

    /// Whether the envdir has changed since the last call, or since the latest reading.
    pub(crate) fn changed(&self, now: Time) -> bool {
        self.rested(now) && self.watch.as_ref().is_some_and(Watch::has_changed)
    }

    /// Readable when the envdir has changed. Not polled for a moment after each reading, since files may be
    /// written one after the other.
    pub(crate) fn changes(&self, now: Time) -> Option<BorrowedFd<'_>> {
        self.watch
            .as_ref()
            .filter(|_| self.rested(now))
            .map(Watch::as_fd)
    }

    /// The end of that moment.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let resting = self.watch.is_some() && !self.rested(now);
        resting.then(|| self.read_at + REST)
    }

    fn rested(&self, now: Time) -> bool {
        self.read_at == Time::ZERO || now >= self.read_at + REST
    }

    /// `NAME=VALUE` for each variable.
    pub(crate) fn block(&self) -> Vec<CString> {
        let own = self.inherited.iter().map(|(name, value)| (name, value));
        let own = own.filter(|(name, _)| !self.reading.variables.contains_key(*name));
        own.chain(&self.reading.variables)
            .filter(|(name, _)| !sys::environment::is_set_for_workers(name))
            .filter_map(|(name, value)| {
                let mut variable = name.clone();
                variable.push("=");
                variable.push(value);
                CString::new(variable.into_vec()).ok() // no NUL: it came from one, or was checked
            })
            .collect()
    }
}

/// Reads all files. A file that cannot be read keeps its value from `before`; a removed one has none.
fn read_dir(dir: &Path, mut before: Variables, complaints: &mut Vec<String>) -> Variables {
    let listed = fs::read_dir(dir).and_then(|entries| {
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        names.collect::<io::Result<Vec<OsString>>>()
    });
    let names = match listed {
        Ok(names) => names,
        Err(e) => {
            complaints.push(format!(
                "cannot read envdir {}: {}",
                dir.display(),
                DisplayIoError(&e)
            ));
            return before;
        }
    };
    let mut variables = Variables::new();
    for name in names
        .into_iter()
        .filter(|name| !name.as_bytes().starts_with(b"."))
    {
        let path = dir.join(&name);
        if name.as_bytes().contains(&b'=') {
            complaints.push(format!(
                "ignoring {}: '=' in a variable's name",
                path.display()
            ));
            continue;
        }
        match first_line(&path) {
            Ok(Some(value)) => drop(variables.insert(name, value)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // removed this moment
            Err(e) => {
                complaints.push(format!(
                    "ignoring {}: {}",
                    path.display(),
                    DisplayIoError(&e)
                ));
                variables.extend(before.remove_entry(&name));
            }
        }
    }
    variables
}

/// The first line without its end; `None` for an empty file, and for anything but a regular file.
fn first_line(path: &Path) -> io::Result<Option<OsString>> {
    // Non-blocking: opening a FIFO would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST + 1)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.contains(&0) {
        return Err(io::Error::other("a NUL byte in its first line"));
    }
    let name = path.file_name().unwrap_or_default();
    if (name.len() + 1 + line.len() + 1) as u64 > LONGEST {
        return Err(io::Error::other(
            "its first line is too long for a variable",
        ));
    }
    Ok(Some(OsString::from_vec(line)))
}

/// The settings, overridden by the envdir.
fn overlay(
    configured: &LiveConfig,
    variables: &Variables,
    dir: &Path,
    complaints: &mut Vec<String>,
) -> LiveConfig {
    let variable = |name: &str| variables.get(OsStr::new(name)).map(OsString::as_os_str);
    let (live, bad) = configured.with_variables(variable);
    let named = |(name, e): (&str, String)| format!("ignoring {}: {e}", dir.join(name).display());
    complaints.extend(bad.into_iter().map(named));
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(files: &[(&str, &[u8])]) -> (Variables, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        fs::create_dir(dir.path().join("A_DIRECTORY")).unwrap();
        let mut complaints = Vec::new();
        let variables = read_dir(dir.path(), Variables::new(), &mut complaints);
        (variables, complaints)
    }

    #[test]
    fn first_line_of_each_file_is_the_value() {
        let (variables, complaints) = reading(&[
            ("PLAIN", b"value\n"),
            ("SPACES", b"  a b \t\nsecond line\n"),
            ("NO_NEWLINE", b"x"),
            ("EMPTY", b""),
            ("BLANK", b"\n"),
            (".hidden", b"x\n"),
            ("BYTES", b"\xff\xfe\n"),
        ]);
        assert_eq!(complaints, [] as [&str; 0]);
        let expected: [(&str, &[u8]); 5] = [
            ("BLANK", b""),
            ("BYTES", b"\xff\xfe"),
            ("NO_NEWLINE", b"x"),
            ("PLAIN", b"value"),
            ("SPACES", b"  a b \t"),
        ];
        let got: Vec<(&[u8], &[u8])> = variables
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let expected: Vec<(&[u8], &[u8])> =
            expected.iter().map(|(n, v)| (n.as_bytes(), *v)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn invalid_names_and_values_are_reported_and_the_rest_applies() {
        let long = vec![b'x'; LONGEST as usize + 10];
        let (variables, complaints) = reading(&[
            ("A=B", b"x\n"),
            ("NUL", b"a\0b\n"),
            ("LONG", &long),
            ("GOOD", b"x\n"),
        ]);
        assert_eq!(variables.keys().collect::<Vec<_>>(), ["GOOD"]);
        assert_eq!(complaints.len(), 3);
        for name in ["A=B", "NUL", "LONG"] {
            assert!(
                complaints.iter().any(|c| c.contains(name)),
                "{name}: {complaints:?}"
            );
        }
    }

    #[test]
    fn valid_envdir_settings_override_the_configuration() {
        let configured = LiveConfig {
            auto_restart: true,
            auto_restart_interval: Duration::from_secs(60),
            kill_old_delay: None,
        };
        let (variables, mut complaints) = reading(&[
            ("ENABLE_AUTO_RESTART", b"1\n"),
            ("AUTO_RESTART_INTERVAL", b"nonsense\n"),
            ("KILL_OLD_DELAY", b"0\n"),
        ]);
        let live = overlay(&configured, &variables, Path::new("/e"), &mut complaints);
        assert_eq!(live.auto_restart_interval, Duration::from_secs(60));
        assert_eq!(live.live_settings().kill_old_delay, Duration::ZERO);
        assert!(
            complaints
                .iter()
                .any(|c| c.contains("/e/AUTO_RESTART_INTERVAL")),
            "{complaints:?}"
        );
    }

    #[test]
    fn unreadable_file_keeps_its_value_and_removed_file_does_not() {
        let before = || Variables::from([("GONE".into(), "x".into()), ("BAD".into(), "x".into())]);
        let mut complaints = Vec::new();
        let missing = Path::new("/nonexistent/envdir");
        assert_eq!(read_dir(missing, before(), &mut complaints), before());
        assert!(
            complaints[0].contains("/nonexistent/envdir"),
            "{complaints:?}"
        );

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("BAD"), b"a\0b\n").unwrap();
        let after = read_dir(dir.path(), before(), &mut complaints);
        assert_eq!(after, Variables::from([("BAD".into(), "x".into())]));
    }
}
