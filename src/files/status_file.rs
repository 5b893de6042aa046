//! The status file: a line `GENERATION:PID` for each live worker, in numeric order.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::mkstemp;

use super::file_id::FileId;
use super::safe_open;
use crate::error::Error;
use crate::machine::Generation;
use crate::sys;
use crate::sys::reexec::FdSet;
use crate::types::Pid;

/// The maximum size of a status file, in bytes. It has some twenty for each live worker.
const MAX_SIZE: u64 = 4 << 20;

/// The status file of this supervisor. Every change replaces the whole file, so that readers never see a part
/// of it. Dropping it removes the file.
pub(crate) struct StatusFile {
    path: PathBuf,
    /// The file that was last written; open, so that no other file gets its inode number.
    current: Option<File>,
}

impl StatusFile {
    /// Checks that the file can be written, and removes one that a dead supervisor has left: until the first
    /// worker is ready there is no status file. With `keep` the old file stays until it is replaced, since its
    /// workers are alive.
    ///
    /// # Errors
    /// The file cannot be written, or has other content than a status. It is not changed then.
    pub(crate) fn prepare(path: &Path, keep: bool) -> Result<StatusFile, Error> {
        let error = |source: io::Error| Error::file("status file", path, source);
        let exists = has_stale_status(path).map_err(error)?;
        let file = StatusFile::new(path);
        let (_, temporary) = file.write_temporary("").map_err(error)?;
        fs::remove_file(&temporary).map_err(error)?;
        if exists && !keep {
            fs::remove_file(path).map_err(error)?;
        }
        Ok(file)
    }

    fn new(path: &Path) -> StatusFile {
        StatusFile {
            path: path.to_owned(),
            current: None,
        }
    }

    /// Keeps the file open for the next program in this process; `None` if none was written.
    pub(crate) fn save(&self, fds: &mut FdSet) -> Option<RawFd> {
        self.current.as_ref().map(|file| fds.keep(file))
    }

    /// Adopts the file that the previous program in this process has saved.
    pub(crate) fn resume(path: &Path, current: Option<RawFd>) -> io::Result<StatusFile> {
        let mut file = StatusFile::new(path);
        file.current = current.map(sys::fd::adopt).transpose()?.map(File::from);
        Ok(file)
    }

    /// Replaces the file by one with these workers.
    pub(crate) fn publish(
        &mut self,
        live: impl Iterator<Item = (Generation, Pid)>,
    ) -> io::Result<()> {
        let mut lines = String::new();
        for (generation, pid) in live {
            let _ = writeln!(lines, "{generation}:{pid}");
        }
        let (file, temporary) = self.write_temporary(&lines)?;
        // Locked while this supervisor runs, so that no other one takes its workers over.
        let _ = sys::fd::try_lock(&file);
        if let Err(error) = fs::rename(&temporary, &self.path) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.current = Some(file);
        Ok(())
    }

    /// Drops this value without removing the file: the workers in it stay alive.
    pub(crate) fn leave(mut self) {
        self.current = None;
    }

    /// Writes a new file, mkstemp(3): its name cannot be guessed, and a file or link of another user at that
    /// name is not used.
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

/// Makes a file of mkstemp(3), which only its owner can read and which workers would inherit, close-on-exec and
/// gives it the permissions that open(2) would, then writes the text.
fn fill(file: &mut File, text: &str) -> io::Result<()> {
    fcntl(&*file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let mask = umask(Mode::empty()); // there is no other way to read it
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
        let current = self.current.as_ref().and_then(FileId::of);
        if current.is_some() && current == FileId::at_no_follow(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is a file at this path. Fails if it is not a status.
fn has_stale_status(path: &Path) -> io::Result<bool> {
    // Another user may replace the file by a link or a FIFO at any time.
    match safe_open::open_no_follow(path).and_then(read) {
        Ok(Some(text)) if is_status(&text) => Ok(true),
        Ok(_) => Err(io::Error::other(
            "it holds something else than a status, and would be overwritten",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => Err(not_regular()),
        Err(e) => Err(e),
    }
}

/// Reads a file; `None` if it is longer than a status file can be, or not UTF-8.
fn read(file: File) -> io::Result<Option<String>> {
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 <= MAX_SIZE;
    Ok(String::from_utf8(bytes).ok().filter(|_| whole))
}

fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

/// Whether every line is `NUMBER:NUMBER`.
pub(super) fn is_status(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_entry = |line: &str| {
        let parts = line.split_once(':');
        parts.is_some_and(|(generation, pid)| is_number(generation) && is_number(pid))
    };
    text.lines().all(is_entry)
}

/// Reads the generations in a status file, in ascending order.
///
/// # Errors
/// The file cannot be read, or belongs to a user who is not trusted; `supervisor` is the user that the
/// supervisor runs as.
pub(crate) fn read_status(path: &Path, supervisor: u32) -> io::Result<Vec<Generation>> {
    let opened = safe_open::open_any_owner(path, OFlag::O_RDONLY, None)?;
    if let Some(user) = opened.untrusted_owner.filter(|user| *user != supervisor) {
        return Err(safe_open::wrong_owner(user));
    }
    let text = read(opened.file)?;
    let text = text.ok_or_else(|| io::Error::other("it holds something else than a status"))?;
    let numbers = text
        .lines()
        .filter_map(|line| line.split_once(':')?.0.parse().ok());
    let mut generations: Vec<Generation> = numbers.collect();
    generations.sort_unstable();
    generations.dedup();
    Ok(generations)
}
