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
    /// What we last put there.
    ours: Option<Identity>,
}

impl StatusFile {
    /// Makes sure that it can be written, and removes one that a dead supervisor left: until the
    /// first worker is ready there is none.
    pub(crate) fn prepare(path: &Path) -> Result<StatusFile, Error> {
        let error = |source: io::Error| Error::file("status file", path, source);
        if fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
            return Err(error(io::Error::from_raw_os_error(libc::EISDIR)));
        }
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let file = StatusFile {
            path: path.to_owned(),
            temporary: temporary.into(),
            ours: None,
        };
        file.write_temporary("").map_err(error)?;
        fs::remove_file(&file.temporary).map_err(error)?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error(e)),
            _ => Ok(file),
        }
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
        let renamed = written.and_then(|id| {
            fs::rename(&self.temporary, &self.path)?;
            Ok(id)
        });
        match renamed {
            Ok(identity) => {
                self.ours = identity;
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&self.temporary);
                Err(error)
            }
        }
    }

    fn write_temporary(&self, text: &str) -> io::Result<Option<Identity>> {
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
        Ok(Identity::of(&file))
    }
}

impl std::fmt::Display for StatusFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        if self.ours.is_some() && self.ours == Identity::at(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
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
