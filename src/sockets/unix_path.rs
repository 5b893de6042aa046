//! A unix stream socket and its file. A stale file is replaced; a file that this program made is removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind as bind_to, connect, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchownat};
use serde::{Deserialize, Serialize};

use super::socket_error;
use crate::error::Error;
use crate::sys;

/// The file of a socket. Dropping it removes the file, if it is still the same one.
pub(crate) struct UnixPath {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// A supervisor that was killed has made it.
    taken: bool,
    /// Workers that are left behind may still serve it: the file stays.
    stays: bool,
}

/// Who may connect to a unix socket: to connect(2) is to write to its file, unix(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathAccess {
    /// Permission bits, 0 to 0o777.
    pub mode: u32,
    /// The file's owner; `None` for the supervisor's user.
    pub user: Option<u32>,
    /// The file's group; `None` for the supervisor's group.
    pub group: Option<u32>,
}

impl Default for PathAccess {
    /// All users may connect, as with every other `start_server`.
    fn default() -> PathAccess {
        PathAccess {
            mode: 0o777,
            user: None,
            group: None,
        }
    }
}

/// Binds, sets who may connect, and only then listens: before that every connection is refused.
pub(crate) fn bind(
    path: &Path,
    access: &PathAccess,
    backlog: u32,
) -> Result<(OwnedFd, UnixPath), Error> {
    clear_the_way(path)?;
    let address = UnixAddr::new(path).map_err(socket_error("bind to", path.display()))?;
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(socket_error("create a socket for", path.display()))?;
    // The file has its final permissions from the start. There is one thread, so the umask changes for no other.
    let umask_before = umask(Mode::from_bits_truncate(!access.mode & 0o777));
    let bound = bind_to(fd.as_raw_fd(), &address);
    umask(umask_before);
    bound.map_err(socket_error("bind to", path.display()))?;
    let error = |action| {
        move |source| Error::Socket {
            action,
            address: path.display().to_string(),
            source,
        }
    };
    let (file, found) = take_hold(path).map_err(|source| {
        remove_own(path);
        error("find the socket just bound to")(source)
    })?;
    let made = UnixPath {
        path: path.to_owned(),
        device: found.dev(),
        inode: found.ino(),
        taken: false,
        stays: false,
    };
    if access.user.is_some() || access.group.is_some() {
        // By descriptor: another file could have the name by now.
        let (user, group) = (access.user.map(Uid::from), access.group.map(Gid::from));
        fchownat(&file, "", user, group, AtFlags::AT_EMPTY_PATH)
            .map_err(socket_error("change the owner of", path.display()))?;
    }
    sys::fd::listen(&fd, backlog).map_err(error("listen on"))?;
    Ok((fd, made))
}

/// Opens the file of a socket. A user who can write to the directory may have replaced it.
fn take_hold(path: &Path) -> io::Result<(OwnedFd, fs::Metadata)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let found = sys::fd::metadata(&file)?;
    if !found.file_type().is_socket() || found.nlink() > 1 {
        return Err(io::Error::other("another file has its place"));
    }
    Ok((file, found))
}

/// Removes a socket that was bound a moment ago and whose file could not be opened.
fn remove_own(path: &Path) {
    let is_ours = |meta: fs::Metadata| {
        meta.file_type().is_socket() && meta.uid() == nix::unistd::geteuid().as_raw()
    };
    if fs::symlink_metadata(path).is_ok_and(is_ours) {
        let _ = fs::remove_file(path);
    }
}

/// Removes a socket on which no process listens; refuses anything else.
fn clear_the_way(path: &Path) -> Result<(), Error> {
    let taken = |what| Error::PathTaken {
        path: path.to_owned(),
        what,
    };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::Socket {
                action: "look at",
                address: path.display().to_string(),
                source,
            });
        }
    };
    if !meta.file_type().is_socket() {
        return Err(taken("it is not a socket"));
    }
    match probe(path)? {
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EACCES | Errno::EPERM) => return Err(taken("it is a socket of another user")),
        // Its queue is full, or it is of another type: a process has it.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => {
            return Err(taken("a process listens on it (ss -lpx shows which)"));
        }
        Err(errno) => {
            return Err(socket_error("find out who listens on", path.display())(
                errno,
            ));
        }
    }
    tracing::info!("removing existing socket file:{}", path.display());
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::Socket {
            action: "remove existing socket file",
            address: path.display().to_string(),
            source: e,
        }),
        _ => Ok(()),
    }
}

/// Tries to connect, without waiting.
///
/// # Errors
/// The attempt could not be made.
fn probe(path: &Path) -> Result<nix::Result<()>, Error> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(socket_error("create a socket to look at", path.display()))?;
    let address = UnixAddr::new(path).map_err(socket_error("look at", path.display()))?;
    Ok(connect(fd.as_raw_fd(), &address))
}

/// The saved form, for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedPath {
    /// Not a `PathBuf`, which serde takes for text.
    path: OsString,
    device: u64,
    inode: u64,
    taken: bool,
}

impl UnixPath {
    /// The file of a socket that a supervisor has bound that was killed. It stays, until
    /// [`UnixPath::set_stays`] says otherwise.
    pub(super) fn taken(path: &Path, device: u64, inode: u64) -> UnixPath {
        UnixPath {
            path: path.to_owned(),
            device,
            inode,
            taken: true,
            stays: true,
        }
    }

    /// Whether a file that was taken over stays when this is dropped.
    pub(super) fn set_stays(&mut self, stays: bool) {
        self.stays = self.taken && stays;
    }

    pub(crate) fn save(&self) -> SavedPath {
        SavedPath {
            path: self.path.clone().into(),
            device: self.device,
            inode: self.inode,
            taken: self.taken,
        }
    }

    pub(crate) fn resume(saved: SavedPath) -> UnixPath {
        UnixPath {
            path: saved.path.into(),
            device: saved.device,
            inode: saved.inode,
            taken: saved.taken,
            stays: false,
        }
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is still the one that was made.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }

    /// Leaves the file: the socket outlives this process.
    pub(super) fn leave(self) {
        std::mem::forget(self); // a path's few bytes, once
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        if !self.stays && self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
