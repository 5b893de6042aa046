//! The status file of a supervisor that was killed: the workers that it has left behind.
//!
//! These workers may be signalled, and their sockets taken over. So the file is only trusted if no other user
//! can have written it, and no running supervisor holds its lock.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use nix::unistd::geteuid;

use super::file_id::FileId;
use super::safe_open;
use crate::machine::Generation;
use crate::sys;
use crate::types::Pid;

/// The maximum size of the file, in bytes: some thousand workers.
const MAX_SIZE: u64 = 32 << 10;

/// The number of a generation is less than this. Higher numbers are left for later generations.
pub(crate) const MAX_GENERATION: Generation = 1 << 53;

/// A status file that no running supervisor holds. It is locked while this value exists, so that of two
/// supervisors that are started at the same time only one takes the workers over.
#[derive(Debug)]
pub(crate) struct StaleStatus {
    _locked: File,
    /// The youngest generation first.
    pub(crate) entries: Vec<StatusEntry>,
    /// When the file was last written.
    pub(crate) written: SystemTime,
}

/// A line of a status file: a live worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusEntry {
    pub(crate) generation: Generation,
    pub(crate) pid: Pid,
}

impl StaleStatus {
    /// Reads and locks the file, on descriptor `min_fd` or higher. `None` if there is no file, or no worker in
    /// it.
    ///
    /// # Errors
    /// The file cannot be trusted, or not be read. A sentence fragment with the reason.
    pub(crate) fn read(path: &Path, min_fd: RawFd) -> io::Result<Option<StaleStatus>> {
        let file = match safe_open::open_no_follow(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
                return Err(io::Error::other("it is a symbolic link"));
            }
            opened => File::from(sys::fd::move_above(opened?.into(), min_fd)?),
        };
        check(&file)?;
        let Some(entries) = parse(&read_text(&file)?) else {
            return Err(io::Error::other("it holds something else than a status"));
        };
        if entries.is_empty() {
            return Ok(None);
        }
        let locked = sys::fd::try_lock(&file)?;
        // A supervisor that holds the lock may have replaced the file since it was opened.
        if !locked || FileId::of(&file) != FileId::at_no_follow(path) {
            return Err(io::Error::other("a running supervisor keeps it"));
        }
        let written = file.metadata()?.modified()?;
        Ok(Some(StaleStatus {
            _locked: file,
            entries,
            written,
        }))
    }
}

/// Refuses a file that another user can have written, or can have put at this path.
fn check(file: &File) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::other(why.to_owned()));
    let found = sys::fd::metadata(file)?;
    if !found.is_file() {
        return refuse("it is not a regular file");
    }
    if found.uid() != geteuid().as_raw() {
        return refuse(&format!("it belongs to user {}", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        return refuse("others can write to it");
    }
    if found.nlink() != 1 {
        return refuse("it has another name (a hard link), or none");
    }
    Ok(())
}

fn read_text(mut file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    (&mut file).take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("it is too long"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it holds something else than a status"))
}

/// Parses the file, and sorts the entries: the youngest generation first. `None` if it is not a status.
pub(super) fn parse(text: &str) -> Option<Vec<StatusEntry>> {
    let mut entries: Vec<StatusEntry> = text.lines().map(parse_line).collect::<Option<_>>()?;
    entries.sort_unstable_by_key(|entry| Reverse((entry.generation, entry.pid)));
    let mut pids = HashSet::new();
    let are_distinct = entries.iter().all(|entry| pids.insert(entry.pid));
    are_distinct.then_some(entries)
}

fn parse_line(line: &str) -> Option<StatusEntry> {
    let (generation, pid) = line.split_once(':')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(generation) || !digits(pid) {
        return None; // `str::parse` accepts a sign
    }
    let generation = generation.parse().ok().filter(|n| *n < MAX_GENERATION)?;
    // Neither 0 nor process 1 is a worker.
    let pid = pid.parse().ok().filter(|pid| *pid > 1)?;
    Some(StatusEntry { generation, pid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refused(path: &Path) -> String {
        StaleStatus::read(path, 3).unwrap_err().to_string()
    }

    #[test]
    fn entries_are_sorted_with_the_youngest_generation_first() {
        let entries = parse("2:70\n3:60\n10:50\n").unwrap();
        let entries: Vec<_> = entries.iter().map(|e| (e.generation, e.pid)).collect();
        assert_eq!(entries, [(10, 50), (3, 60), (2, 70)]);
        assert_eq!(parse(""), Some(vec![]));
    }

    #[test]
    fn text_that_is_not_a_status_has_no_entries() {
        let wrong = [
            "1",
            "1:",
            ":1",
            "1:1",
            "1:0",
            "1:-5",
            "+1:5",
            " 1:5",
            "1:5:6",
            "1:99999999999",
            "9007199254740992:5",
            "1:5\n2:5\n",
            "1:5\n\n",
            "1:5\nx",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn file_that_others_can_have_written_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        assert!(StaleStatus::read(&path, 3).unwrap().is_none());
        fs::write(&path, "1:100\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(StaleStatus::read(&path, 3).unwrap().is_some());

        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(refused(&path), "others can write to it");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(refused(&link), "it is a symbolic link");
        fs::remove_file(&link).unwrap();
        fs::hard_link(&path, &link).unwrap();
        assert!(refused(&path).contains("hard link"));
        assert_eq!(refused(dir.path()), "it is not a regular file");
    }

    #[test]
    fn file_that_is_too_long_or_not_a_status_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        for (content, why) in [
            ("1:100\n".repeat(10_000).into_bytes(), "too long"),
            (b"garbage".to_vec(), "something else"),
            (vec![0xff; 10], "something else"),
        ] {
            fs::write(&path, content).unwrap();
            assert!(refused(&path).contains(why), "{}", refused(&path));
        }
    }

    #[test]
    fn file_whose_lock_is_held_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        fs::write(&path, "1:100\n").unwrap();
        let first = StaleStatus::read(&path, 3).unwrap();
        assert_eq!(refused(&path), "a running supervisor keeps it");
        drop(first);
        assert!(StaleStatus::read(&path, 3).unwrap().is_some());
    }
}
