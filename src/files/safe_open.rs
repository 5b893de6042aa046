//! Opens files in directories where other users can create files.
//!
//! In /tmp, or in a directory of another user, a path may be a symbolic link to a file of ours, another
//! hard link to it, or a file of another user. Linux can refuse these (protected_symlinks and its relatives,
//! proc_sys_fs(5)), but only in sticky directories, and the settings may be off. The open descriptor is
//! checked, since the file at the path may be replaced at any time.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::sys;

/// How often opening is tried while the file is created and removed again.
const MAX_TRIES: u32 = 100;

/// An open file, which may be another user's.
pub(super) struct Opened {
    pub(super) file: File,
    /// The owner of the file, if the file is in a directory where others can create files, and the owner is
    /// neither root nor this user nor the owner of the directory.
    pub(super) untrusted_owner: Option<u32>,
}

/// Opens a file without ever waiting. With `create` it is created with these permissions if there is none.
///
/// # Errors
/// Those of open(2). In a directory where others can create files: the path is a symbolic link, the file has
/// several hard links, or belongs to another user.
pub(super) fn open(path: &Path, flags: OFlag, create: Option<Mode>) -> io::Result<File> {
    let opened = open_any_owner(path, flags, create)?;
    match opened.untrusted_owner {
        Some(user) => Err(wrong_owner(user)),
        None => Ok(opened.file),
    }
}

/// The error for a file of another user.
pub(super) fn wrong_owner(user: u32) -> io::Error {
    refusal(&format!("it belongs to user {user}"))
}

/// Opens a file as [`open`] does, but leaves it to the caller whether its owner may be trusted.
pub(super) fn open_any_owner(
    path: &Path,
    flags: OFlag,
    create: Option<Mode>,
) -> io::Result<Opened> {
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_LARGEFILE; // logs of more than 2 GB on 32-bit machines
    let parent = path.parent().map(|parent| match parent.as_os_str() {
        here if here.is_empty() => Path::new("."),
        _ => parent,
    });
    let (Some(parent), Some(name)) = (parent, path.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into()); // "/", or "…/.."
    };
    // Open, so that the directory that is checked is the one that is used.
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(parent, directory, Mode::empty())?;
    let open = |more: OFlag| {
        let mode = create.unwrap_or(Mode::empty());
        openat(&directory, name.as_bytes(), flags | more, mode).map(File::from)
    };
    let parent = sys::fd::metadata(&directory)?;
    match others_can_create_in(&parent) {
        true => open_checked(open, create.is_some(), &parent),
        false => {
            let create = create.map_or(OFlag::empty(), |_| OFlag::O_CREAT);
            Ok(Opened {
                file: open(create)?,
                untrusted_owner: None,
            })
        }
    }
}

/// Opens a file for reading. Never waits, and fails with ELOOP for a symbolic link.
pub(super) fn open_no_follow(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits()).open(path)
}

/// Opens an existing file without following a symbolic link, or creates a new one.
fn open_checked(
    open: impl Fn(OFlag) -> nix::Result<File>,
    create: bool,
    parent: &Metadata,
) -> io::Result<Opened> {
    for _ in 0..MAX_TRIES {
        match open(OFlag::O_NOFOLLOW) {
            Ok(file) => return check(file, parent),
            Err(Errno::ELOOP) => return Err(refusal("it is a symbolic link")),
            Err(Errno::ENOENT) if create => {}
            Err(errno) => return Err(errno.into()),
        }
        match open(OFlag::O_CREAT | OFlag::O_EXCL) {
            Ok(file) => {
                let untrusted_owner = None;
                return Ok(Opened {
                    file,
                    untrusted_owner,
                });
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(refusal("it is created and removed again and again"))
}

fn check(file: File, parent: &Metadata) -> io::Result<Opened> {
    let found = sys::fd::metadata(&file)?;
    if found.nlink() > 1 {
        return Err(refusal("it has another name (a hard link)"));
    }
    // The owner of the directory can replace every file in it.
    let trusted = [0, geteuid().as_raw(), parent.uid()];
    Ok(Opened {
        untrusted_owner: Some(found.uid()).filter(|user| !trusted.contains(user)),
        file,
    })
}

/// Whether users besides root and this one can create or replace files in a directory.
fn others_can_create_in(directory: &Metadata) -> bool {
    let (mode, owner) = (directory.mode(), directory.uid());
    let sticky = mode & libc::S_ISVTX != 0;
    // Without the sticky bit, the group was chosen to be trusted, as for /var/log.
    let writable = mode & libc::S_IWOTH != 0 || (sticky && mode & libc::S_IWGRP != 0);
    writable || !(owner == 0 || owner == geteuid().as_raw() || owns_root_directory(owner))
}

/// Whether this user owns `/`. In a user namespace, directories of the outer root belong to the overflow user.
fn owns_root_directory(user: u32) -> bool {
    std::fs::metadata("/").is_ok_and(|root| root.uid() == user)
}

fn refusal(what: &str) -> io::Error {
    io::Error::other(format!(
        "{what}, in a directory where others can create files; use a directory of your own"
    ))
}
