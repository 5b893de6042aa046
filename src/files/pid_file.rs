//! The pid file: it says who the supervisor is, and its lock says that it is alive.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Identity, safe_open};
use crate::error::Error;
use crate::sys;
use crate::sys::reexec::FdSet;
use crate::types::Pid;
use rustix::fs::FlockOperation;

/// How often a locked file is tried again: `--stop` and `--restart` hold the lock of a stale file
/// for the moment it takes to see that it is stale.
const RETRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// More of a file is not read, in bytes.
const HEAD: u64 = 64;

/// A pid file that is ours: locked as long as this lives, and removed with it.
pub(crate) struct PidFile {
    path: PathBuf,
    /// Open, and so locked.
    file: File,
}

impl PidFile {
    /// Takes the file over if nobody holds its lock, flock(2), and empties it. A file that is
    /// locked stays as it is, and so does one that is no pid file. Ours lives at descriptor
    /// `min_fd` or higher. After an error there is none that was not there before.
    pub(crate) fn lock(path: &Path, min_fd: RawFd) -> Result<PidFile, Error> {
        let was_there = fs::symlink_metadata(path).is_ok();
        let taken = PidFile::take(path, min_fd);
        if taken.is_err() && !was_there {
            disconnect(path);
        }
        taken
    }

    fn take(path: &Path, min_fd: RawFd) -> Result<PidFile, Error> {
        let error = |source: io::Error| Error::file("pid file", path, source);
        let mut retries_left = RETRIES;
        let file = loop {
            let mode = Mode::from_bits_truncate(0o644);
            let file = safe_open::open(path, OFlag::O_RDWR, Some(mode)).and_then(regular);
            let file = sys::fd::move_above(file.map_err(error)?.into(), min_fd).map_err(error)?;
            let file = File::from(file);
            let locked = sys::fd::try_lock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(error)?;
            // A supervisor that ended just now may have removed the file we opened.
            if locked && Identity::of(&file) == Identity::behind(path) {
                break file;
            }
            if retries_left == 0 {
                return Err(Error::Locked {
                    path: path.to_owned(),
                    pid: parse(&file),
                });
            }
            retries_left -= 1;
            std::thread::sleep(PAUSE);
        };
        let mut content = String::new();
        (&file)
            .take(HEAD)
            .read_to_string(&mut content)
            .map_err(error)?;
        // Blank it may be as a whole: somebody was interrupted. Blank first lines are other people's.
        let pid = content
            .trim_start()
            .lines()
            .next()
            .unwrap_or_default()
            .trim();
        let unseen = pid.is_empty() && content.len() as u64 == HEAD;
        if unseen || !pid.bytes().all(|b| b.is_ascii_digit()) {
            let why = "it holds something else than a pid, and would be overwritten";
            return Err(error(io::Error::other(why)));
        }
        // Ours, from here on: removed if something fails.
        let mut pid_file = PidFile {
            path: path.to_owned(),
            file,
        };
        let file = &mut pid_file.file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .map_err(error)?;
        Ok(pid_file)
    }

    /// For the next program in this process: the lock goes with the descriptor.
    pub(crate) fn save(&self, fds: &mut FdSet) -> RawFd {
        fds.keep(&self.file)
    }

    pub(crate) fn resume(path: &Path, fd: RawFd) -> io::Result<PidFile> {
        Ok(PidFile {
            path: path.to_owned(),
            file: sys::fd::adopt(fd)?.into(),
        })
    }

    /// Writes our pid: from now on we can be signalled.
    pub(crate) fn announce(&mut self) -> Result<(), Error> {
        let line = format!("{}\n", std::process::id());
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| Error::file("pid file", &self.path, source))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if Identity::of(&self.file) == Identity::behind(&self.path) {
            let _ = fs::remove_file(&self.path); // still locked: no one can have taken it over
        }
    }
}

/// Removes a file that we have made and could not use. Not if another supervisor has taken it meanwhile,
/// or will: until it is removed we have the lock, and who gets that afterwards sees that it is gone.
fn disconnect(path: &Path) {
    let Ok(file) = safe_open::open(path, OFlag::O_RDWR, None).and_then(regular) else {
        return;
    };
    let is_empty = file.metadata().is_ok_and(|meta| meta.len() == 0);
    let locked = is_empty
        && sys::fd::try_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap_or(false);
    if locked && Identity::of(&file) == Identity::behind(path) {
        let _ = fs::remove_file(path);
    }
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

pub(super) fn parse(file: &File) -> Option<Pid> {
    let mut text = String::new();
    file.take(HEAD).read_to_string(&mut text).ok()?;
    text.lines()
        .next()?
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
}

/// Whose pid file it is.
#[derive(Debug)]
pub(crate) enum Holder {
    /// No process holds the lock: the file is stale.
    None,
    /// That of a supervisor that is about to write its pid.
    Starting,
    /// This supervisor's.
    Supervisor(Pid, Held),
}

/// The pid file of a running supervisor, as it was found.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    stranger: Option<u32>,
}

/// Looks whose pid file it is, for the commands that talk to a running supervisor.
pub(crate) fn read_holder(path: &Path) -> io::Result<Holder> {
    let found = safe_open::find(path, OFlag::O_RDONLY, None)?;
    let file = regular(found.file)?;
    if sys::fd::try_lock(&file, FlockOperation::NonBlockingLockShared)? {
        return Ok(Holder::None);
    }
    // Read after the lock was seen: before it is taken the file may say anything.
    let stranger = found.stranger;
    Ok(match parse(&file) {
        Some(pid) => Holder::Supervisor(pid, Held { file, stranger }),
        None => Holder::Starting,
    })
}

impl Held {
    /// Whether a process, which runs as this user, has this file open, proc_pid_fd(5). Whoever holds
    /// the lock has; a process that got the same number by chance, or in another pid namespace, has
    /// not. And whether the file can be its own: one that a stranger has put there names whom they
    /// like.
    pub(crate) fn is_held_by(&self, pid: Pid, user: u32) -> io::Result<bool> {
        let mine = Identity::of(&self.file);
        if mine.is_none() || self.stranger.is_some_and(|stranger| stranger != user) {
            return Ok(false);
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            if entry.is_ok_and(|entry| Identity::behind(&entry.path()) == mine) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
