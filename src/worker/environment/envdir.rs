//! An envdir: a directory with a file for each variable, whose first line is the value.
//!
//! It is read again before each start of a worker. A variable whose file was removed gets the value that the
//! supervisor has inherited, or none.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::LiveConfig;
use crate::error::DisplayIoError;

pub(super) type Variables = BTreeMap<OsString, OsString>;

/// The maximum size of `NAME=VALUE` with its NUL byte: MAX_ARG_STRLEN of execve(2).
const MAX_VARIABLE: u64 = 128 * 1024;

/// The latest reading of the envdir. Upgrades keep it: the envdir may not be there at that moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    #[serde(serialize_with = "to_pairs", deserialize_with = "from_pairs")]
    pub(super) variables: Variables,
    /// What is ignored, and why. A later reading with the same warning does not log it again.
    pub(super) warnings: Vec<String>,
}

impl Reading {
    /// Reads the envdir again, and returns the settings of `configured`, overridden by the envdir. Logs what is
    /// ignored, unless the reading before had the same.
    pub(super) fn refresh(&mut self, dir: &Path, configured: &LiveConfig) -> LiveConfig {
        let before = std::mem::take(self);
        let mut warnings = Vec::new();
        self.variables = read_dir(dir, before.variables, &mut warnings);
        let live = overlay(configured, &self.variables, dir, &mut warnings);
        for warning in warnings.iter().filter(|w| !before.warnings.contains(w)) {
            tracing::warn!("{warning}");
        }
        self.warnings = warnings;
        live
    }
}

/// Saved as pairs: the keys of a JSON object would have to be text.
fn to_pairs<S: Serializer>(variables: &Variables, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(variables)
}

fn from_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
    let pairs = Vec::<(OsString, OsString)>::deserialize(deserializer)?;
    Ok(pairs.into_iter().collect())
}

/// Reads all files. A file that cannot be read keeps its value from `before`; a removed one has none.
pub(super) fn read_dir(dir: &Path, mut before: Variables, warnings: &mut Vec<String>) -> Variables {
    let names = match file_names(dir) {
        Ok(names) => names,
        Err(e) => {
            let (dir, why) = (dir.display(), DisplayIoError(&e));
            warnings.push(format!("cannot read envdir {dir}: {why}"));
            return before;
        }
    };
    let mut variables = Variables::new();
    for name in names {
        let path = dir.join(&name);
        if name.as_bytes().contains(&b'=') {
            let path = path.display();
            warnings.push(format!("ignoring {path}: '=' in a variable's name"));
            continue;
        }
        match first_line(&path) {
            Ok(Some(value)) => drop(variables.insert(name, value)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // removed since it was listed
            Err(e) => {
                let (path, why) = (path.display(), DisplayIoError(&e));
                warnings.push(format!("ignoring {path}: {why}"));
                variables.extend(before.remove_entry(&name));
            }
        }
    }
    variables
}

/// The names of all entries that are not hidden.
fn file_names(dir: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    let is_hidden = |name: &OsString| name.as_bytes().starts_with(b".");
    let visible = names.filter(|name| !name.as_ref().is_ok_and(is_hidden));
    visible.collect()
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
    BufReader::new(file.take(MAX_VARIABLE + 1)).read_until(b'\n', &mut line)?;
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
    if (name.len() + 1 + line.len() + 1) as u64 > MAX_VARIABLE {
        return Err(io::Error::other(
            "its first line is too long for a variable",
        ));
    }
    Ok(Some(OsString::from_vec(line)))
}

/// The settings, overridden by the envdir.
pub(super) fn overlay(
    configured: &LiveConfig,
    variables: &Variables,
    dir: &Path,
    warnings: &mut Vec<String>,
) -> LiveConfig {
    let variable = |name: &str| variables.get(OsStr::new(name)).map(OsString::as_os_str);
    let (live, bad) = configured.with_variables(variable);
    let named = |(name, e): (&str, String)| format!("ignoring {}: {e}", dir.join(name).display());
    warnings.extend(bad.into_iter().map(named));
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reading(files: &[(&str, &[u8])]) -> (Variables, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        fs::create_dir(dir.path().join("A_DIRECTORY")).unwrap();
        let mut warnings = Vec::new();
        let variables = read_dir(dir.path(), Variables::new(), &mut warnings);
        (variables, warnings)
    }

    #[test]
    fn first_line_of_each_file_is_the_value() {
        let (variables, warnings) = reading(&[
            ("PLAIN", b"value\n"),
            ("SPACES", b"  a b \t\nsecond line\n"),
            ("NO_NEWLINE", b"x"),
            ("EMPTY", b""),
            ("BLANK", b"\n"),
            (".hidden", b"x\n"),
            ("BYTES", b"\xff\xfe\n"),
        ]);
        assert_eq!(warnings, [] as [&str; 0]);
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
        let long = vec![b'x'; MAX_VARIABLE as usize + 10];
        let (variables, warnings) = reading(&[
            ("A=B", b"x\n"),
            ("NUL", b"a\0b\n"),
            ("LONG", &long),
            ("GOOD", b"x\n"),
        ]);
        assert_eq!(variables.keys().collect::<Vec<_>>(), ["GOOD"]);
        assert_eq!(warnings.len(), 3);
        for name in ["A=B", "NUL", "LONG"] {
            assert!(
                warnings.iter().any(|c| c.contains(name)),
                "{name}: {warnings:?}"
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
        let (variables, mut warnings) = reading(&[
            ("ENABLE_AUTO_RESTART", b"1\n"),
            ("AUTO_RESTART_INTERVAL", b"nonsense\n"),
            ("KILL_OLD_DELAY", b"0\n"),
        ]);
        let live = overlay(&configured, &variables, Path::new("/e"), &mut warnings);
        assert_eq!(live.auto_restart_interval, Duration::from_secs(60));
        assert_eq!(live.live_settings().kill_old_delay, Duration::ZERO);
        assert!(
            warnings
                .iter()
                .any(|c| c.contains("/e/AUTO_RESTART_INTERVAL")),
            "{warnings:?}"
        );
    }

    #[test]
    fn unreadable_file_keeps_its_value_and_removed_file_does_not() {
        let before = || Variables::from([("GONE".into(), "x".into()), ("BAD".into(), "x".into())]);
        let mut warnings = Vec::new();
        let missing = Path::new("/nonexistent/envdir");
        assert_eq!(read_dir(missing, before(), &mut warnings), before());
        assert!(warnings[0].contains("/nonexistent/envdir"), "{warnings:?}");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("BAD"), b"a\0b\n").unwrap();
        let after = read_dir(dir.path(), before(), &mut warnings);
        assert_eq!(after, Variables::from([("BAD".into(), "x".into())]));
    }
}
