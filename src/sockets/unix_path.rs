//! A unix stream socket and its file. A stale file is replaced; a file that this program made is removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind as bind_to, connect, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fchownat};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sys;

/// The file of a socket. Dropping it removes the file, if it is still the same one.
pub(crate) struct UnixPath {
    file: SocketFile,
    /// The file is not removed: workers that are left behind may still listen on its socket.
    keep: bool,
}

/// Which file it is. This is the saved form, for the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SocketFile {
    /// Not a `PathBuf`, which serde takes for text.
    path: OsString,
    device: u64,
    inode: u64,
    /// A supervisor that was killed has made it.
    taken: bool,
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
    remove_stale(path)?;
    let fd = create(path, access.mode)?;
    let (file, found) = open_file(path).map_err(|source| {
        remove_own(path);
        Error::socket("find the socket just bound to", path.display())(source)
    })?;
    let unix_path = UnixPath {
        file: SocketFile::new(path, &found, false),
        keep: false,
    };
    if access.user.is_some() || access.group.is_some() {
        // By descriptor: another file could have the name by now.
        let (user, group) = (access.user.map(Uid::from), access.group.map(Gid::from));
        fchownat(&file, "", user, group, AtFlags::AT_EMPTY_PATH)
            .map_err(Error::socket("change the owner of", path.display()))?;
    }
    sys::fd::listen(&fd, backlog).map_err(Error::socket("listen on", path.display()))?;
    Ok((fd, unix_path))
}

/// Creates a socket, and its file with these permissions.
fn create(path: &Path, mode: u32) -> Result<OwnedFd, Error> {
    let address = UnixAddr::new(path).map_err(Error::socket("bind to", path.display()))?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(Error::socket("create a socket for", path.display()))?;
    // The file has its final permissions from the start. There is one thread, so the umask changes for no
    // other.
    let umask_before = umask(Mode::from_bits_truncate(!mode & 0o777));
    let bound = bind_to(fd.as_raw_fd(), &address);
    umask(umask_before);
    bound.map_err(Error::socket("bind to", path.display()))?;
    Ok(fd)
}

/// Opens the file of a socket. A user who can write to the directory may have replaced it.
fn open_file(path: &Path) -> io::Result<(OwnedFd, fs::Metadata)> {
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

/// Removes the file of a socket on which no process listens.
///
/// # Errors
/// The file is not a socket, or a process may listen on it.
fn remove_stale(path: &Path) -> Result<(), Error> {
    let error = |action, source: io::Error| Error::socket(action, path.display())(source);
    let taken = |what| Error::PathTaken {
        path: path.to_owned(),
        what,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(taken("it is not a socket")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(error("look at", e)),
    }
    match probe(path)? {
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EACCES | Errno::EPERM) => return Err(taken("it is a socket of another user")),
        // EAGAIN if its queue is full, EPROTOTYPE if it is not a stream socket.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => {
            return Err(taken("a process listens on it (ss -lpx shows which)"));
        }
        Err(errno) => return Err(error("find out who listens on", errno.into())),
    }
    tracing::info!("removing existing socket file:{}", path.display());
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(error("remove existing socket file", e))
        }
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
        .map_err(Error::socket("create a socket to look at", path.display()))?;
    let address = UnixAddr::new(path).map_err(Error::socket("look at", path.display()))?;
    Ok(connect(fd.as_raw_fd(), &address))
}

impl SocketFile {
    fn new(path: &Path, found: &fs::Metadata, taken: bool) -> SocketFile {
        SocketFile {
            path: path.into(),
            device: found.dev(),
            inode: found.ino(),
            taken,
        }
    }
}

impl UnixPath {
    /// The file of a socket that is taken over from a supervisor that was killed. It is kept, unless
    /// [`UnixPath::keep_if_taken`] changes that.
    pub(super) fn taken(path: &Path, found: &fs::Metadata) -> UnixPath {
        UnixPath {
            file: SocketFile::new(path, found, true),
            keep: true,
        }
    }

    /// Sets whether a file that was taken over is kept when this is dropped.
    pub(super) fn keep_if_taken(&mut self, keep: bool) {
        self.keep = self.file.taken && keep;
    }

    pub(crate) fn save(&self) -> SocketFile {
        self.file.clone()
    }

    pub(crate) fn resume(file: SocketFile) -> UnixPath {
        UnixPath { file, keep: false }
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(&self.file.path)
    }

    /// Whether the file is still there, and no other file has replaced it.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(self.as_path())
            .is_ok_and(|found| found.dev() == self.file.device && found.ino() == self.file.inode)
    }

    /// Drops this value and keeps the file: the socket outlives this process.
    pub(super) fn leave(mut self) {
        self.keep = true;
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        if !self.keep && self.is_there() {
            let _ = fs::remove_file(self.as_path());
        }
    }
}
