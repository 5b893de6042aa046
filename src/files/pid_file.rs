//! The pid file: its content is the supervisor's pid, and its lock shows that the supervisor is alive.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::file_id::FileId;
use super::safe_open;
use crate::error::Error;
use crate::sys;
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// How often a locked file is tried again. `--stop` and `--restart` hold the lock of a stale file for a
/// moment, until they have seen that it is stale.
const RETRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How much of a file is read, in bytes.
const MAX_READ: u64 = 64;

/// The pid file of this supervisor, locked while this value exists. Dropping it removes the file.
pub(crate) struct PidFile {
    path: PathBuf,
    /// Its open file description holds the lock.
    file: File,
}

impl PidFile {
    /// Locks the file, flock(2), and empties it; creates it if there is none. Its descriptor is `min_fd` or
    /// higher.
    ///
    /// # Errors
    /// Another process holds the lock, the content is not a pid, or the file cannot be opened. Such a file is
    /// not changed, and a file that was created here is removed.
    pub(crate) fn lock(path: &Path, min_fd: RawFd) -> Result<PidFile, Error> {
        let existed = fs::symlink_metadata(path).is_ok();
        let locked = PidFile::lock_and_empty(path, min_fd);
        if locked.is_err() && !existed {
            remove_unused(path);
        }
        locked
    }

    fn lock_and_empty(path: &Path, min_fd: RawFd) -> Result<PidFile, Error> {
        let error = |source: io::Error| Error::file("pid file", path, source);
        let file = open_locked(path, min_fd)?;
        if !has_pid_or_nothing(&file).map_err(error)? {
            let why = "it holds something else than a pid, and would be overwritten";
            return Err(error(io::Error::other(why)));
        }
        // From here on the file is removed on errors.
        let mut pid_file = PidFile {
            path: path.to_owned(),
            file,
        };
        let file = &mut pid_file.file;
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(error)?;
        Ok(pid_file)
    }

    /// Keeps the file open, and so locked, for the next program in this process.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.file)
    }

    /// Adopts the file that the previous program in this process has saved.
    pub(crate) fn resume(path: &Path, fd: RawFd) -> io::Result<PidFile> {
        Ok(PidFile {
            path: path.to_owned(),
            file: sys::fd::adopt(fd)?.into(),
        })
    }

    /// Writes the pid. Must be called when the supervisor handles signals.
    pub(crate) fn announce(&mut self) -> Result<(), Error> {
        let line = format!("{}\n", std::process::id());
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| Error::file("pid file", &self.path, source))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if FileId::of(&self.file) == FileId::at(&self.path) {
            let _ = fs::remove_file(&self.path); // still locked, so it is no other supervisor's
        }
    }
}

/// Opens and locks the file, with some retries.
fn open_locked(path: &Path, min_fd: RawFd) -> Result<File, Error> {
    let error = |source: io::Error| Error::file("pid file", path, source);
    let mut retries_left = RETRIES;
    loop {
        let file = open_above(path, min_fd).map_err(error)?;
        let locked = sys::fd::try_lock(&file).map_err(error)?;
        // A supervisor that has just ended may have removed the file that was opened.
        if locked && FileId::of(&file) == FileId::at(path) {
            return Ok(file);
        }
        if retries_left == 0 {
            return Err(Error::Locked {
                path: path.to_owned(),
                pid: parse(&file),
            });
        }
        retries_left -= 1;
        std::thread::sleep(RETRY_PAUSE);
    }
}

fn open_above(path: &Path, min_fd: RawFd) -> io::Result<File> {
    let mode = Mode::from_bits_truncate(0o644);
    let file = safe_open::open(path, OFlag::O_RDWR, Some(mode)).and_then(regular)?;
    sys::fd::move_above(file.into(), min_fd).map(File::from)
}

/// Whether a file may be emptied: it has a pid, or only white space. The writer of a blank file was
/// interrupted; other programs write files that begin with a blank line.
fn has_pid_or_nothing(file: &File) -> io::Result<bool> {
    let mut content = String::new();
    file.take(MAX_READ).read_to_string(&mut content)?;
    let first_line = content.trim_start().lines().next().unwrap_or_default();
    let pid = first_line.trim();
    let goes_on = pid.is_empty() && content.len() as u64 == MAX_READ;
    Ok(!goes_on && pid.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes a file that was created here and could not be used. The lock is held until it is removed: if another
/// supervisor has locked the file it stays, and one that locks it later sees that it was removed.
fn remove_unused(path: &Path) {
    let Ok(file) = safe_open::open(path, OFlag::O_RDWR, None).and_then(regular) else {
        return;
    };
    let is_empty = file.metadata().is_ok_and(|found| found.len() == 0);
    let locked = is_empty && sys::fd::try_lock(&file).unwrap_or(false);
    if locked && FileId::of(&file) == FileId::at(path) {
        let _ = fs::remove_file(path);
    }
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Reads the pid in the first line; `None` if there is none.
pub(super) fn parse(file: &File) -> Option<Pid> {
    let mut text = String::new();
    file.take(MAX_READ).read_to_string(&mut text).ok()?;
    let pid = text.lines().next()?.trim().parse().ok();
    pid.filter(|pid| *pid > 0)
}

/// The process that holds the lock of a pid file.
#[derive(Debug)]
pub(crate) enum Holder {
    /// No process holds the lock: the file is stale.
    None,
    /// A supervisor that has not yet written its pid.
    Starting,
    /// The supervisor with this pid.
    Supervisor(Pid, LockedPidFile),
}

/// The pid file of a running supervisor.
#[derive(Debug)]
pub(crate) struct LockedPidFile {
    file: File,
    /// See [`safe_open::Opened`].
    untrusted_owner: Option<u32>,
}

/// Finds the holder of a pid file's lock, for the commands that talk to a running supervisor.
pub(crate) fn read_holder(path: &Path) -> io::Result<Holder> {
    let opened = safe_open::open_any_owner(path, OFlag::O_RDONLY, None)?;
    let file = regular(opened.file)?;
    if sys::fd::try_lock_shared(&file)? {
        return Ok(Holder::None);
    }
    // Read only now: before the supervisor takes the lock, the content may be stale.
    let untrusted_owner = opened.untrusted_owner;
    Ok(match parse(&file) {
        Some(pid) => Holder::Supervisor(
            pid,
            LockedPidFile {
                file,
                untrusted_owner,
            },
        ),
        None => Holder::Starting,
    })
}

impl LockedPidFile {
    /// Whether process `pid`, which runs as `user`, has this file open, proc_pid_fd(5). The holder of the
    /// lock has. A process that got the same pid later, or has it in another pid namespace, has not. `false`,
    /// too, if the file belongs to a third user: its content may be forged.
    pub(crate) fn is_held_by(&self, pid: Pid, user: u32) -> io::Result<bool> {
        let id = FileId::of(&self.file);
        if id.is_none() || self.untrusted_owner.is_some_and(|owner| owner != user) {
            return Ok(false);
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            if entry.is_ok_and(|entry| FileId::at(&entry.path()) == id) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
