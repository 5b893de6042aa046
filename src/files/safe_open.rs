//! Opening what a name leads to where others can put things under that name.
//!
//! In /tmp, or in a directory that belongs to somebody else, another user may have been there before
//! us: with a symbolic link to a file of ours, with a second name for it, with a file of their own.
//! Linux can be told to see to that (protected_symlinks and its sisters, proc_sys_fs(5)), but it need
//! not have been, and it does so in sticky directories only. What is found is judged by the open
//! descriptor: a name may mean something else the next moment.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::sys;

/// How often a name is tried that comes and goes.
const TRIES: u32 = 100;

/// A file that may not be trusted with everything.
pub(super) struct Found {
    pub(super) file: File,
    /// The user it belongs to, if that is neither root nor we, in a place where others can put files.
    pub(super) stranger: Option<u32>,
}

/// Opens what may be used as a file of ours, without ever waiting for anybody. `create`: with these
/// permissions, if there is none.
///
/// # Errors
/// Those of open(2). Where others can put files: a symbolic link, a file with several names, a file
/// of somebody else's.
pub(super) fn open(path: &Path, flags: OFlag, create: Option<Mode>) -> io::Result<File> {
    let Found { file, stranger } = find(path, flags, create)?;
    match stranger {
        Some(user) => Err(belongs_to(user)),
        None => Ok(file),
    }
}

/// Why a file of a stranger's is of no use.
pub(super) fn belongs_to(user: u32) -> io::Error {
    refusal(&format!("it belongs to user {user}"))
}

/// Like [`open`], for who can tell which strangers may be trusted.
pub(super) fn find(path: &Path, flags: OFlag, create: Option<Mode>) -> io::Result<Found> {
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_LARGEFILE; // logs grow, on machines of 32 bits, too
    let parent = path.parent().map(|parent| match parent.as_os_str() {
        here if here.is_empty() => Path::new("."),
        _ => parent,
    });
    let (Some(parent), Some(name)) = (parent, path.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into()); // "/", or "…/.."
    };
    // Held, so that it is judged and used as one.
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(parent, directory, Mode::empty())?;
    let found_in = sys::fd::metadata(&directory)?;
    let open = |more: OFlag| {
        let mode = create.unwrap_or(Mode::empty());
        openat(&directory, name.as_bytes(), flags | more, mode).map(File::from)
    };
    if !is_open_to_others(&found_in) {
        let create = create.map_or(OFlag::empty(), |_| OFlag::O_CREAT);
        let (file, stranger) = (open(create)?, None);
        return Ok(Found { file, stranger });
    }
    let anew = OFlag::O_CREAT | OFlag::O_EXCL;
    for _ in 0..TRIES {
        match open(OFlag::O_NOFOLLOW) {
            Ok(file) => return judge(file, &found_in),
            Err(Errno::ELOOP) => return Err(refusal("it is a symbolic link")),
            Err(Errno::ENOENT) if create.is_some() => {}
            Err(errno) => return Err(errno.into()),
        }
        match open(anew) {
            Ok(file) => {
                let stranger = None;
                return Ok(Found { file, stranger });
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(refusal("it comes and goes"))
}

fn judge(file: File, found_in: &Metadata) -> io::Result<Found> {
    let found = sys::fd::metadata(&file)?;
    if found.nlink() > 1 {
        return Err(refusal("it has another name (a hard link)"));
    }
    // Whom the directory belongs to could have made any file of it theirs.
    let trusted = [0, geteuid().as_raw(), found_in.uid()];
    let stranger = Some(found.uid()).filter(|user| !trusted.contains(user));
    Ok(Found { file, stranger })
}

/// Whether somebody besides root and us can decide what a name in this directory means.
fn is_open_to_others(directory: &Metadata) -> bool {
    let (mode, owner) = (directory.mode(), directory.uid());
    let sticky = mode & libc::S_ISVTX != 0;
    // A group without a sticky bit is one that somebody has chosen, as for /var/log.
    let written = mode & libc::S_IWOTH != 0 || (sticky && mode & libc::S_IWGRP != 0);
    written || !(owner == 0 || owner == geteuid().as_raw() || owns_the_root(owner))
}

/// In a user namespace, root's directories outside of it seem to be the overflow user's.
fn owns_the_root(user: u32) -> bool {
    std::fs::metadata("/").is_ok_and(|root| root.uid() == user)
}

fn refusal(what: &str) -> io::Error {
    io::Error::other(format!(
        "{what}, in a directory where others can put such things; use one of your own"
    ))
}
