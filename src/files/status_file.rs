//! The status file: a line `GENERATION:PID` for each live worker, in numeric order.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Identity;
use crate::error::Error;
use crate::machine::Generation;
use crate::units::Pid;

/// The status file, replaced as a whole at every change, so that readers never see half of it.
pub(crate) struct StatusFile {
    path: PathBuf,
    temporary: PathBuf,
    /// What we last put there. Open, so that its inode is not given to another file.
    ours: Option<File>,
}

impl StatusFile {
    /// Makes sure that it can be written, and removes one that a dead supervisor left: until the
    /// first worker is ready there is none. A file that is no status file is left alone.
    pub(crate) fn prepare(path: &Path) -> Result<StatusFile, Error> {
        let error = |source: io::Error| Error::file("status file", path, source);
        let stale = match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => Err(io::Error::other("not a regular file")),
            Ok(_) => match holds_status(path).map_err(error)? {
                true => Ok(true),
                false => Err(io::Error::other(
                    "it holds something else than a status, and would be overwritten",
                )),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        };
        let stale = stale.map_err(error)?;
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let file = StatusFile {
            path: path.to_owned(),
            temporary: temporary.into(),
            ours: None,
        };
        file.write_temporary("").map_err(error)?;
        fs::remove_file(&file.temporary).map_err(error)?;
        if stale {
            fs::remove_file(path).map_err(error)?;
        }
        Ok(file)
    }

    /// Writes the list anew.
    pub(crate) fn publish(
        &mut self,
        live: impl Iterator<Item = (Generation, Pid)>,
    ) -> io::Result<()> {
        let lines: String = live
            .map(|(generation, pid)| format!("{generation}:{pid}\n"))
            .collect();
        let written = self.write_temporary(&lines);
        let renamed = written.and_then(|file| {
            fs::rename(&self.temporary, &self.path)?;
            Ok(file)
        });
        match renamed {
            Ok(file) => {
                self.ours = Some(file);
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&self.temporary);
                Err(error)
            }
        }
    }

    fn write_temporary(&self, text: &str) -> io::Result<File> {
        let create = || {
            // Exclusive: never through a link that somebody has put there.
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&self.temporary)
        };
        let mut file: File = match create() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&self.temporary)?; // of a dead supervisor with our pid
                create()?
            }
            made => made?,
        };
        file.write_all(text.as_bytes())?;
        Ok(file)
    }
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

/// Whether every line of a file is one that a status file has.
fn holds_status(path: &Path) -> io::Result<bool> {
    let is_status = |line: &str| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        line.split_once(':')
            .is_some_and(|(generation, pid)| number(generation) && number(pid))
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().all(is_status)),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(false), // no text
        Err(e) => Err(e),
    }
}

/// The generations in a status file, in numeric order.
pub(crate) fn read_status(path: &Path) -> io::Result<Vec<Generation>> {
    let text = fs::read_to_string(path)?;
    let numbers = text
        .lines()
        .filter_map(|line| line.split_once(':')?.0.parse().ok());
    let mut generations: Vec<Generation> = numbers.collect();
    generations.sort_unstable();
    generations.dedup();
    Ok(generations)
}
