//! Fuzz target `envdir`: the files of an envdir, see [`crate::fuzzing`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::envdir::{Reading, Variables, overlay, read_dir};
use crate::config::LiveConfig;
use crate::machine::Time;
use crate::sys::environment::is_set_for_workers;

/// Separates the files in the input.
const SEPARATOR: u8 = 0x1c;

/// Writes the files of the input, at most 20, and reads the directory. The first line of each piece is
/// the file's name. The variable of the first file has a value already.
pub fn envdir(data: &[u8]) {
    let mut files: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for piece in data.split(|byte| *byte == SEPARATOR).take(20) {
        let end = piece.iter().position(|byte| *byte == b'\n');
        let (name, content) = piece.split_at(end.unwrap_or(piece.len()));
        let is_file_name = !matches!(name, b"" | b"." | b"..") && name.len() <= 255;
        if is_file_name && !name.iter().any(|b| matches!(b, 0 | b'/')) {
            files.insert(name, content.get(1..).unwrap_or_default());
        }
    }
    let first = files.keys().next().map(|name| OsStr::from_bytes(name));
    let before = first.map(|name| (name.to_owned(), "before".into()));

    let dir = Directory::new();
    for (name, content) in &files {
        fs::write(dir.0.join(OsStr::from_bytes(name)), content).expect("a file");
    }
    let mut warnings = Vec::new();
    let read = read_dir(&dir.0, before.clone().into_iter().collect(), &mut warnings);

    let mut expected = Variables::new();
    let mut bad = 0;
    for (name, content) in &files {
        let line = content.split(|byte| *byte == b'\n').next();
        let line = line.filter(|_| !content.is_empty());
        let key = OsStr::from_bytes(name);
        match line {
            _ if name.starts_with(b".") => {}
            _ if name.contains(&b'=') => bad += 1,
            Some(line) if line.contains(&0) => {
                bad += 1;
                expected.extend(before.clone().filter(|(name, _)| name == key));
            }
            Some(line) => drop(expected.insert(key.into(), OsStr::from_bytes(line).into())),
            None => {}
        }
    }
    assert_eq!((&read, warnings.len()), (&expected, bad), "{warnings:?}");
    check_block(read.clone());
    check_settings(&read, &dir);
}

/// The environment for execve(2) has each variable once, and none that is set for each worker.
fn check_block(read: Variables) {
    let inherited = [("HOME", "/"), ("LISTEN_FDS", "1")].map(|(n, v)| (n.into(), v.into()));
    let mut expected = read.clone();
    for (name, value) in inherited.clone() {
        expected.entry(name).or_insert(value);
    }
    expected.retain(|name, _: &mut OsString| !is_set_for_workers(name));
    let environment = Environment {
        inherited: inherited.into(),
        dir: None,
        watch: None,
        read_at: Time::ZERO,
        reading: Reading {
            variables: read,
            warnings: Vec::new(),
        },
    };
    let block = environment.variables();
    let pairs = block.iter().map(|variable| {
        let bytes = variable.as_bytes();
        let equals = bytes.iter().position(|byte| *byte == b'=').expect("a '='");
        let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
        (
            OsStr::from_bytes(name).into(),
            OsStr::from_bytes(value).into(),
        )
    });
    assert_eq!(block.len(), expected.len());
    assert_eq!(pairs.collect::<Variables>(), expected);
}

/// Each malformed value is reported, and leaves its setting as configured.
fn check_settings(read: &Variables, dir: &Directory) {
    let configured = LiveConfig {
        auto_restart: true,
        auto_restart_interval: Duration::from_secs(60),
        kill_old_delay: None,
    };
    let mut warnings = Vec::new();
    let live = overlay(&configured, read, &dir.0, &mut warnings);
    let names = ["AUTO_RESTART_INTERVAL", "KILL_OLD_DELAY"];
    let given = names
        .iter()
        .filter(|name| read.contains_key(OsStr::new(name)));
    assert!(warnings.len() <= given.count(), "{warnings:?}");
    let live_settings = live.live_settings();
    let longest = Duration::from_secs(1_000_000_000);
    assert!(live_settings.kill_old_delay <= longest);
    assert!(
        live_settings
            .auto_restart
            .is_none_or(|every| !every.is_zero() && every <= longest)
    );
    if !warnings.is_empty() {
        let default = configured.auto_restart_interval == live.auto_restart_interval;
        assert!(default || live.kill_old_delay.is_none());
    }
}

/// A directory of its own for each thread, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let thread = format!("{:?}", std::thread::current().id());
        let name = format!("fuzz-envdir-{}-{thread}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
