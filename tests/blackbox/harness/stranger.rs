//! Another user, who does as they like in a directory that both can write to.

use std::any::Any;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, mkfifo, setfsgid, setfsuid};

use super::{Setup, skipped};

/// Their user and group; nobody else's, it is hoped.
pub(crate) const STRANGER: u32 = 4242;

/// Whether there can be one; says so if not.
pub(crate) fn have_strangers() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped("a second user, who races with us for our files, needs root");
    }
    root
}

/// Does something with files as they would: the kernel asks for a thread's own user there.
pub(crate) fn as_stranger<T: Send>(deed: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            become_stranger();
            deed()
        });
        stranger.join().unwrap()
    })
}

fn become_stranger() {
    setfsgid(Gid::from_raw(STRANGER));
    setfsuid(Uid::from_raw(STRANGER));
}

/// What they may have put under a name before we use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bait {
    /// A symbolic link to where no file is yet.
    Dangling,
    /// A symbolic link to somebody's file.
    Symlink,
    /// A second name of somebody's file.
    HardLink,
    /// A file of their own that everybody may write to, and that they have open.
    File,
    /// A fifo, with a reader.
    Fifo,
    Directory,
    /// A socket on which they listen.
    Socket,
}

impl Bait {
    pub(crate) const ALL: [Bait; 7] = [
        Bait::Dangling,
        Bait::Symlink,
        Bait::HardLink,
        Bait::File,
        Bait::Fifo,
        Bait::Directory,
        Bait::Socket,
    ];

    /// Lays it. `safe` is a directory of ours with a file `victim` in it. What is returned is what they
    /// hold open.
    pub(crate) fn lay(self, at: &Path, safe: &Path) -> Box<dyn Any + Send> {
        let victim = safe.join("victim");
        if self == Bait::HardLink {
            // They could, were it not for fs.protected_hardlinks.
            fs::hard_link(victim, at).unwrap();
            return Box::new(());
        }
        as_stranger(|| -> Box<dyn Any + Send> {
            match self {
                Bait::Dangling => symlink(safe.join("new"), at).unwrap(),
                Bait::Symlink => symlink(victim, at).unwrap(),
                Bait::File => return Box::new(open_to_all(at)),
                Bait::Fifo => {
                    mkfifo(at, Mode::S_IRWXU).unwrap();
                    fs::set_permissions(at, fs::Permissions::from_mode(0o666)).unwrap();
                    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                    return Box::new(nix::fcntl::open(at, flags, Mode::empty()).unwrap());
                }
                Bait::Directory => fs::create_dir(at).unwrap(),
                Bait::Socket => {
                    let listener = UnixListener::bind(at).unwrap();
                    fs::set_permissions(at, fs::Permissions::from_mode(0o777)).unwrap();
                    return Box::new(listener);
                }
                Bait::HardLink => unreachable!(),
            }
            Box::new(())
        })
    }
}

fn open_to_all(at: &Path) -> fs::File {
    let file = fs::File::create(at).unwrap();
    let all = fs::Permissions::from_mode(0o666);
    file.set_permissions(all).unwrap();
    file
}

/// What a name is: of which file, of what kind, whose.
pub(crate) fn what_is(path: &Path) -> (u64, u32, u32, u64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.ino(), meta.mode(), meta.uid(), meta.size())
}

/// They, doing the same thing again and again. Dropped: no more.
pub(crate) struct Nuisance {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    rounds: Arc<AtomicU32>,
}

impl Nuisance {
    pub(crate) fn new(mut deed: impl FnMut() + Send + 'static) -> Self {
        let (over, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            become_stranger();
            while !ends.load(Ordering::Relaxed) {
                deed();
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            over,
            thread: Some(thread),
            rounds,
        }
    }

    /// Whatever has this name is now a link to somebody's file, now a file of theirs, now a fifo, now
    /// nothing.
    pub(crate) fn swapping(name: PathBuf, safe: &Path) -> Self {
        let beside = name.with_extension("beside");
        let (victim, new) = (safe.join("victim"), safe.join("new"));
        let mut turn = 0;
        Self::new(move || {
            turn = (turn + 1) % 5;
            // Any of these may fail: it may be in use, or ours by now.
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

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Nuisance {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A third user.
pub(crate) const OTHER: u32 = 4243;

/// In a directory like /tmp, with one of ours in it: `safe/`, and a file there, `safe/victim`.
pub(crate) fn like_tmp(options: &[&str], victim: &str) -> Setup {
    let setup = Setup::bare(options);
    fs::set_permissions(setup.path("."), fs::Permissions::from_mode(0o1777)).unwrap();
    let setup = setup.file("safe/victim", victim);
    fs::set_permissions(setup.path("safe"), fs::Permissions::from_mode(0o700)).unwrap();
    setup
}

/// The supervisor becomes another user, by way of a shell that makes itself at home first.
pub(crate) fn as_user(setup: Setup, user: u32) -> Setup {
    setup.copied().before(&format!(
        "set -- setpriv --reuid={user} --regid={user} --clear-groups \"$@\""
    ))
}
