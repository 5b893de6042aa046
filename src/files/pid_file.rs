//! The pid file: it says who the supervisor is, and its lock says that it is alive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Identity;
use crate::error::Error;
use crate::sys;
use crate::units::Pid;

/// How often a locked file is tried again: `--stop` and `--restart` hold the lock of a stale file
/// for the moment it takes to see that it is stale.
const PATIENCE: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// A pid file that is ours: locked as long as this lives, and removed with it.
pub(crate) struct PidFile {
    path: PathBuf,
    lock: Flock<File>,
}

impl PidFile {
    /// Takes the file over if nobody holds its lock, flock(2), and empties it. A file that is
    /// locked stays as it is. Ours lives at descriptor `above` or higher.
    pub(crate) fn lock(path: &Path, above: RawFd) -> Result<PidFile, Error> {
        let error = |source: io::Error| Error::file("pid file", path, source);
        let mut patience = PATIENCE;
        let lock = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false) // not before we know that it is ours
                .mode(0o644)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
                .map_err(error)?;
            if !file.metadata().map_err(error)?.is_file() {
                return Err(error(io::Error::other("not a regular file")));
            }
            let file = File::from(sys::fd::raise(file.into(), above));
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // A supervisor that ended just now may have removed the file we opened.
                Ok(lock) if Identity::of(&lock) == Identity::at(path) => break lock,
                Ok(_) => continue,
                Err((_, Errno::EINTR)) => continue,
                Err((_, Errno::EWOULDBLOCK)) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(PAUSE);
                }
                Err((file, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Locked {
                        path: path.to_owned(),
                        pid: parse(file),
                    });
                }
                Err((_, errno)) => return Err(error(errno.into())),
            }
        };
        lock.set_len(0).map_err(error)?;
        Ok(PidFile {
            path: path.to_owned(),
            lock,
        })
    }

    /// Writes our pid: from now on we can be signalled.
    pub(crate) fn announce(&mut self) -> Result<(), Error> {
        let line = format!("{}\n", std::process::id());
        let written = self.lock.write_all(line.as_bytes());
        written.map_err(|source| Error::file("pid file", &self.path, source))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if Identity::of(&self.lock) == Identity::at(&self.path) {
            let _ = fs::remove_file(&self.path); // still locked: no one can have taken it over
        }
    }
}

fn parse(file: File) -> Option<Pid> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    text.lines()
        .next()?
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
}

/// Whose pid file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody's: no one holds its lock, so what it says is stale.
    Nobody,
    /// That of a supervisor that is about to write its pid.
    Starting,
    /// This supervisor's.
    Supervisor(Pid),
}

/// Looks whose pid file it is, for the commands that talk to a running supervisor.
pub(crate) fn read_holder(path: &Path) -> io::Result<Holder> {
    let file = File::open(path)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(Holder::Nobody),
        // Read after the lock was seen: before it is taken the file may say anything.
        Err((file, Errno::EWOULDBLOCK)) => {
            Ok(parse(file).map_or(Holder::Starting, Holder::Supervisor))
        }
        Err((_, errno)) => Err(errno.into()),
    }
}
