//! The directory of the notification sockets, which no other user can enter.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{geteuid, mkdtemp};

use crate::error::DisplayIoError;
use crate::machine::Generation;

/// The longest path that fits into a socket's address, sun_path of unix(7), without the NUL.
const MAX_PATH: usize = 107;

/// The most digits of a generation's number.
const DIGITS: usize = 20;

/// The user and the group of workers.
pub(super) type Owner = (u32, u32);

/// A directory with mode 0700, or 0710 if workers run as another user. Removed when dropped.
#[derive(Debug)]
pub(super) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// Makes one in the first of `parents` where that is possible, and logs why the ones before it are not
    /// used. The group of `owner` may enter it.
    ///
    /// # Errors
    /// Why each of `parents` cannot be used.
    pub(super) fn make(parents: &Parents, owner: Option<Owner>) -> Result<RuntimeDir, String> {
        let mut refused: Vec<String> = Vec::new();
        for parent in parents.in_order() {
            match RuntimeDir::in_directory(&parent, owner) {
                Ok(dir) => {
                    if !refused.is_empty() {
                        let (why, used) = (refused.join("; "), dir.0.display());
                        tracing::warn!("no place for notification sockets in {why}; using {used}");
                    }
                    return Ok(dir);
                }
                Err(e) => refused.push(format!("{}: {}", parent.display(), DisplayIoError(&e))),
            }
        }
        Err(refused.join("; "))
    }

    fn in_directory(parent: &Path, owner: Option<Owner>) -> io::Result<RuntimeDir> {
        // Symbolic links are resolved first, so that the directory that is checked is the one that is used.
        let parent = &fs::canonicalize(parent)?;
        let template = parent.join("start_server-XXXXXX");
        if template.as_os_str().len() + 1 + DIGITS > MAX_PATH {
            return Err(io::Error::other("too long a path for a socket"));
        }
        check(parent, owner)?;
        let dir = RuntimeDir(mkdtemp(&template)?);
        if let Some((_, group)) = owner {
            // The owner stays: a worker that could rename in it could make the supervisor use other files.
            chown(&dir.0, None, Some(group))?;
            fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o710))?;
        }
        Ok(dir)
    }

    /// The directory that the program before in this process has made.
    pub(super) fn resume(path: &Path) -> RuntimeDir {
        RuntimeDir(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The socket of a generation.
    pub(super) fn socket(&self, generation: Generation) -> PathBuf {
        self.0.join(generation.to_string())
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // Files of other programs stay, and so does the directory then.
        if let Err(e) = fs::remove_dir(&self.0) {
            tracing::debug!(
                "failed to remove {}: {}",
                self.0.display(),
                DisplayIoError(&e)
            );
        }
    }
}

/// Refuses a parent in which, or above which, other users could replace the directory, and a parent that
/// workers cannot enter.
fn check(parent: &Path, owner: Option<Owner>) -> io::Result<()> {
    let found = fs::symlink_metadata(parent)?;
    let ours = [0, geteuid().as_raw()];
    if others_rename_in(&found, &ours) {
        return Err(io::Error::other("others could rename in it"));
    }
    // In a user namespace a directory above may belong to an unknown user. The owner of the root directory
    // could replace anything anyway.
    let ours = [ours[0], ours[1], fs::metadata("/")?.uid()];
    for above in parent.ancestors().skip(1) {
        if others_rename_in(&fs::symlink_metadata(above)?, &ours) {
            let why = format!("others could rename in {}", above.display());
            return Err(io::Error::other(why));
        }
    }
    let other_user = owner.is_some_and(|(user, _)| user != found.uid());
    if other_user && found.mode() & 0o001 == 0 {
        return Err(io::Error::other("workers could not enter it"));
    }
    Ok(())
}

fn others_rename_in(directory: &Metadata, ours: &[u32]) -> bool {
    let mode = directory.mode();
    let (others_write, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    !ours.contains(&directory.uid()) || (others_write && !sticky)
}

/// Where the directory may be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parents {
    /// The supervisor outlives the session that started it, and with it `XDG_RUNTIME_DIR`.
    pub(crate) daemonized: bool,
    /// The directory of the control socket, which can be written to when `/tmp` cannot.
    pub(crate) beside_control: Option<PathBuf>,
}

impl Parents {
    /// The service's runtime directory, the user's, the one for temporary files; then those that a container
    /// with a read-only root usually has.
    fn in_order(&self) -> Vec<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut parents = Vec::new();
        if let Some(list) = variable("RUNTIME_DIRECTORY") {
            // A unit may have several.
            let first = list.as_bytes().split(|byte| *byte == b':').next();
            parents.extend(first.map(|dir| PathBuf::from(OsStr::from_bytes(dir))));
        }
        let of_session = variable("XDG_RUNTIME_DIR").filter(|_| !self.daemonized);
        parents.extend(of_session.map(PathBuf::from));
        parents.push(std::env::temp_dir());
        parents.push(PathBuf::from("/tmp"));
        parents.extend(self.beside_control.clone());
        parents.extend(["/dev/shm", "/run"].map(PathBuf::from));
        parents.dedup();
        parents
    }
}
