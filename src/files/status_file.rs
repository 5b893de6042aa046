//! The status file: a line `GENERATION:PID` for each live worker, in numeric order.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::mkstemp;

use super::{Identity, safe_open};
use crate::error::Error;
use crate::machine::Generation;
use crate::sys;
use crate::sys::reexec::FdSet;
use crate::types::Pid;
use rustix::fs::FlockOperation;

/// The status file, replaced as a whole at every change, so that readers never see half of it.
pub(crate) struct StatusFile {
    path: PathBuf,
    /// What we last put there. Open, so that its inode is not given to another file.
    ours: Option<File>,
}

impl StatusFile {
    /// Makes sure that it can be written, and removes one that a dead supervisor left: until the
    /// first worker is ready there is none. With `keep` it stays until it is written anew, for its
    /// workers live. A file that is no status file is left alone.
    pub(crate) fn prepare(path: &Path, keep: bool) -> Result<StatusFile, Error> {
        let error = |source: io::Error| Error::file("status file", path, source);
        let stale = match read_stale(path) {
            Ok(Some(text)) if is_status(&text) => Ok(true),
            Ok(_) => Err(io::Error::other(
                "it holds something else than a status, and would be overwritten",
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        };
        let stale = stale.map_err(error)?;
        let file = StatusFile::new(path);
        let (_, temporary) = file.write_temporary("").map_err(error)?;
        fs::remove_file(&temporary).map_err(error)?;
        if stale && !keep {
            fs::remove_file(path).map_err(error)?;
        }
        Ok(file)
    }

    fn new(path: &Path) -> StatusFile {
        StatusFile {
            path: path.to_owned(),
            ours: None,
        }
    }

    /// For the next program in this process: what we have put there, if anything.
    pub(crate) fn save(&self, fds: &mut FdSet) -> Option<RawFd> {
        self.ours.as_ref().map(|file| fds.keep(file))
    }

    pub(crate) fn resume(path: &Path, ours: Option<RawFd>) -> io::Result<StatusFile> {
        let mut file = StatusFile::new(path);
        file.ours = ours.map(sys::fd::adopt).transpose()?.map(File::from);
        Ok(file)
    }

    /// Writes the list anew.
    pub(crate) fn publish(
        &mut self,
        live: impl Iterator<Item = (Generation, Pid)>,
    ) -> io::Result<()> {
        let mut lines = String::new();
        for (generation, pid) in live {
            let _ = writeln!(lines, "{generation}:{pid}");
        }
        let (file, temporary) = self.write_temporary(&lines)?;
        // Held for our life: a supervisor that is started with the same file leaves our workers alone.
        let _ = sys::fd::try_lock(&file, FlockOperation::NonBlockingLockExclusive);
        if let Err(error) = fs::rename(&temporary, &self.path) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.ours = Some(file);
        Ok(())
    }

    /// Lets the file be: the workers in it live on.
    pub(crate) fn leave(mut self) {
        self.ours = None;
    }

    /// Under a name that nobody can foresee, and so take before us; and made anew, never through a
    /// link.
    fn write_temporary(&self, text: &str) -> io::Result<(File, PathBuf)> {
        let mut template = self.path.clone().into_os_string();
        template.push(".XXXXXX");
        let (fd, temporary) = mkstemp(Path::new(&template))?;
        let mut file = File::from(fd);
        match fill(&mut file, text) {
            Ok(()) => Ok((file, temporary)),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }
}

/// With the permissions of a file that open(2) makes, mkstemp(3) grants nobody else any; and without
/// reaching workers.
fn fill(file: &mut File, text: &str) -> io::Result<()> {
    fcntl(&*file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let mask = umask(Mode::empty()); // there is no other way to ask for it
    umask(mask);
    fchmod(&*file, Mode::from_bits_truncate(0o644) & !mask)?;
    file.write_all(text.as_bytes())
}

impl std::fmt::Display for StatusFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        let ours = self.ours.as_ref().and_then(Identity::of);
        if ours.is_some() && ours == Identity::at(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// More is no status file, in bytes: it has some twenty for each live worker.
const LONGEST: u64 = 4 << 20;

/// What is there under our name; none: more than a status file can have, or no text.
fn read_stale(path: &Path) -> io::Result<Option<String>> {
    // Somebody may swap it for a link or a fifo at any moment.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path);
    match file {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => Err(not_regular()),
        file => read(file?),
    }
}

fn read(file: File) -> io::Result<Option<String>> {
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 <= LONGEST;
    Ok(String::from_utf8(bytes).ok().filter(|_| whole))
}

fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

/// Whether every line is one that a status file has.
pub(super) fn is_status(text: &str) -> bool {
    let is_status = |line: &str| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        line.split_once(':')
            .is_some_and(|(generation, pid)| number(generation) && number(pid))
    };
    text.lines().all(is_status)
}

/// The generations in a status file, in numeric order. `supervisor`: the user it runs as.
pub(crate) fn read_status(path: &Path, supervisor: u32) -> io::Result<Vec<Generation>> {
    let found = safe_open::find(path, OFlag::O_RDONLY, None)?;
    if let Some(user) = found.stranger.filter(|user| *user != supervisor) {
        return Err(safe_open::belongs_to(user));
    }
    let text = read(found.file)?;
    let text = text.ok_or_else(|| io::Error::other("it holds something else than a status"))?;
    let numbers = text
        .lines()
        .filter_map(|line| line.split_once(':')?.0.parse().ok());
    let mut generations: Vec<Generation> = numbers.collect();
    generations.sort_unstable();
    generations.dedup();
    Ok(generations)
}
