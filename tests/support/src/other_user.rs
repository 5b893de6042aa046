//! Another user, who plants and swaps files in a directory that both users can write to.

use std::any::Any;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, mkfifo, setfsgid, setfsuid};

use crate::{SupervisorBuilder, skipped};

/// The user id and the group id of the other user. No account needs to have it.
pub const OTHER_USER: u32 = 4242;

/// The user id and the group id of a third user.
pub const THIRD_USER: u32 = 4243;

/// Whether the test can act as another user. If not, the test is reported as skipped.
pub fn other_user_is_available() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped("to act as a second user needs root");
    }
    root
}

/// Runs `action` in a thread that accesses files as the other user.
pub fn as_other_user<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            become_other_user();
            action()
        });
        thread.join().unwrap()
    })
}

/// The file system user and group belong to the calling thread alone.
fn become_other_user() {
    setfsgid(Gid::from_raw(OTHER_USER));
    setfsuid(Uid::from_raw(OTHER_USER));
}

/// What the other user may have created under a name before the supervisor uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedFile {
    /// A symbolic link to a file that does not exist.
    DanglingSymlink,
    /// A symbolic link to the victim's file.
    Symlink,
    /// A hard link to the victim's file.
    HardLink,
    /// A file of the other user that all can write to, and that the other user has open.
    File,
    /// A fifo with a reader.
    Fifo,
    /// A directory.
    Directory,
    /// A socket on which the other user listens.
    Socket,
}

impl PlantedFile {
    /// All kinds.
    pub const ALL: [PlantedFile; 7] = [
        PlantedFile::DanglingSymlink,
        PlantedFile::Symlink,
        PlantedFile::HardLink,
        PlantedFile::File,
        PlantedFile::Fifo,
        PlantedFile::Directory,
        PlantedFile::Socket,
    ];

    /// Creates it under the name `at`. `safe` is a directory of the victim, with the file `victim` in it. Returns what
    /// the other user keeps open.
    pub fn plant(self, at: &Path, safe: &Path) -> Box<dyn Any + Send> {
        let victim = safe.join("victim");
        if self == PlantedFile::HardLink {
            // by root: fs.protected_hardlinks, if set, forbids it to the other user
            fs::hard_link(victim, at).unwrap();
            return Box::new(());
        }
        as_other_user(|| -> Box<dyn Any + Send> {
            match self {
                PlantedFile::DanglingSymlink => symlink(safe.join("new"), at).unwrap(),
                PlantedFile::Symlink => symlink(victim, at).unwrap(),
                PlantedFile::File => {
                    let file = fs::File::create(at).unwrap();
                    file.set_permissions(Permissions::from_mode(0o666)).unwrap();
                    return Box::new(file);
                }
                PlantedFile::Fifo => {
                    mkfifo(at, Mode::S_IRWXU).unwrap();
                    fs::set_permissions(at, Permissions::from_mode(0o666)).unwrap();
                    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                    return Box::new(nix::fcntl::open(at, flags, Mode::empty()).unwrap());
                }
                PlantedFile::Directory => fs::create_dir(at).unwrap(),
                PlantedFile::Socket => {
                    let listener = UnixListener::bind(at).unwrap();
                    fs::set_permissions(at, Permissions::from_mode(0o777)).unwrap();
                    return Box::new(listener);
                }
                PlantedFile::HardLink => unreachable!(),
            }
            Box::new(())
        })
    }
}

/// Inode, mode, owner and size of a file, of a symbolic link itself: to see whether it was changed or replaced.
pub fn file_identity(path: &Path) -> (u64, u32, u32, u64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.ino(), meta.mode(), meta.uid(), meta.size())
}

/// A thread of the other user that repeats an action until it is dropped.
pub struct RaceAttacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    rounds: Arc<AtomicU32>,
}

impl RaceAttacker {
    /// Starts to repeat `action`.
    pub fn start(mut action: impl FnMut() + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            become_other_user();
            while !stopped.load(Ordering::Relaxed) {
                action();
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            thread: Some(thread),
            rounds,
        }
    }

    /// Starts to swap what has this name: a link to the victim's file, a file of the other user, a dangling link, a
    /// fifo, nothing, and so on.
    pub fn swapping(name: PathBuf, safe: &Path) -> Self {
        let beside = name.with_extension("beside");
        let (victim, new) = (safe.join("victim"), safe.join("new"));
        let mut turn = 0;
        Self::start(move || {
            turn = (turn + 1) % 5;
            // Any of these may fail: the name may be in use, or belong to the supervisor.
            let _ = match turn {
                0 => symlink(&victim, &beside),
                1 => fs::write(&beside, ""),
                2 => symlink(&new, &beside),
                3 => mkfifo(&beside, Mode::S_IRWXU).map_err(Into::into),
                _ => fs::remove_file(&name),
            };
            let _ = fs::rename(&beside, &name);
        })
    }

    /// How often the action was done so far.
    pub fn rounds(&self) -> u32 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for RaceAttacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl SupervisorBuilder {
    /// The test's directory becomes like /tmp, writable for all and sticky. In it is `safe/`, which belongs to the
    /// victim alone, with the file `safe/victim`.
    pub fn shared_directory(self, victim: &str) -> Self {
        fs::set_permissions(self.path("."), Permissions::from_mode(0o1777)).unwrap();
        let builder = self.file("safe/victim", victim);
        fs::set_permissions(builder.path("safe"), Permissions::from_mode(0o700)).unwrap();
        builder
    }

    /// The supervisor runs as this user, from a copy of the program in the test's directory.
    pub fn as_user(self, user: u32) -> Self {
        self.copied().before(&format!(
            "set -- setpriv --reuid={user} --regid={user} --clear-groups \"$@\""
        ))
    }
}
