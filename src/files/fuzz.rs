//! Fuzz target `files`: a file at the path of the pid file or status file, see [`crate::fuzzing`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::pid_file::{PidFile, parse};
use super::stale_status;
use super::status_file::{StatusFile, is_status, read_status};
use crate::types::fuzz::integer;

/// A file exists at the path of the pid file or status file. A file that is not ours is not changed.
pub fn files(data: &[u8]) {
    let thread = format!("{:?}", std::thread::current().id());
    let name = format!("fuzz-files-{}-{thread}", std::process::id());
    let file = Temporary(std::env::temp_dir().join(name));
    let path = &file.0;
    fs::write(path, data).expect("a file");
    check_pid_file(path, data);
    fs::write(path, data).expect("a file");
    check_status_file(path, data);
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = data.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn check_pid_file(path: &Path, data: &[u8]) {
    let pid = parse(&File::open(path).expect("the file"));
    if let Some(pid) = pid {
        assert!(pid > 0, "kill(2) signals a group for 0 and below");
        let first = String::from_utf8_lossy(lines(data).next().unwrap_or_default());
        assert!(first.len() > 64 || integer(first.trim().as_bytes()) == Some(pid.into()));
    }
    match PidFile::lock(path, 3) {
        Ok(file) => {
            assert_eq!(fs::read(path).expect("the file"), b"");
            let text = String::from_utf8_lossy(data);
            let first = text.trim_start().bytes().next();
            assert!(
                first.is_none_or(|byte| byte.is_ascii_digit()),
                "truncated a file that is not a pid file"
            );
            drop(file);
            assert!(!path.exists());
        }
        Err(_) => assert_eq!(fs::read(path).expect("the file"), data),
    }
}

fn check_status_file(path: &Path, data: &[u8]) {
    let is_ours = std::str::from_utf8(data).is_ok_and(is_status);
    if is_ours {
        let known = data.iter().all(|byte| b"0123456789:\r\n".contains(byte));
        assert!(known, "not a status file");
    }
    if let Ok(generations) = read_status(path, nix::unistd::geteuid().as_raw()) {
        let is_sorted = generations.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_sorted, "{generations:?}");
        let numbers = lines(data).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            u64::try_from(integer(&line[..colon]).filter(|_| line[0] != b'-')?).ok()
        });
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(generations, numbers);
    }
    if let Some(entries) = std::str::from_utf8(data).ok().and_then(stale_status::parse) {
        assert!(is_ours, "not a status file");
        assert_eq!(
            entries.len(),
            lines(data).filter(|line| !line.is_empty()).count()
        );
        assert!(entries.iter().all(|entry| entry.pid > 1));
    }
    match StatusFile::prepare(path, false) {
        Ok(_) => assert!(is_ours && !path.exists()),
        Err(_) => assert_eq!(
            (is_ours, fs::read(path).expect("the file")),
            (false, data.into())
        ),
    }
}

/// A file that is removed on drop.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
