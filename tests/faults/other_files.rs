//! The files in the test's directory that are not the supervisor's, and the files that are left in the end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use server_starter_testing::{NotifyServer, TestDir};

/// Files and sockets that the supervisor must not change.
pub(crate) struct OtherFiles {
    /// Each with its inode and its content.
    files: Vec<(PathBuf, u64, Vec<u8>)>,
    _listener: UnixListener,
    /// Receives what is sent to `NOTIFY_SOCKET`.
    pub(crate) manager: NotifyServer,
}

/// The files of a killed supervisor, with a process id that cannot exist.
const STALE_PID_FILE: &str = "4194305\n";
const STALE_STATUS_FILE: &str = "7:4194305\n";

impl OtherFiles {
    /// Creates them; with `stale`, also the files of a supervisor that was killed.
    pub(crate) fn create(dir: &TestDir, stale: bool) -> OtherFiles {
        for name in ["tmp", "env"] {
            fs::create_dir(dir.path(name)).unwrap();
        }
        dir.write("env/FROM_ENVDIR", "1\n");
        dir.write("of-others", "mine\n");
        dir.write("tmp/of-others", "mine\n");
        let listener = UnixListener::bind(dir.path("sock-of-others")).unwrap();
        let manager = NotifyServer::bind(&dir.path("manager"));
        if stale {
            drop(UnixListener::bind(dir.path("sock")).unwrap());
            drop(UnixListener::bind(dir.path("control")).unwrap());
            dir.write("pid", STALE_PID_FILE);
            dir.write("status", STALE_STATUS_FILE);
        }
        let names = [
            "of-others",
            "tmp/of-others",
            "env/FROM_ENVDIR",
            "sock-of-others",
            "manager",
        ];
        let files = names.map(|name| {
            let path = dir.path(name);
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            let content = fs::read(&path).unwrap_or_default();
            (path, inode, content)
        });
        OtherFiles {
            files: files.into(),
            _listener: listener,
            manager,
        }
    }

    /// The name of one that was changed or replaced.
    pub(crate) fn touched(&self, dir: &TestDir) -> Option<String> {
        self.files.iter().find_map(|(path, inode, content)| {
            let same = fs::symlink_metadata(path).is_ok_and(|m| m.ino() == *inode)
                && fs::read(path).unwrap_or_default() == *content;
            (!same).then(|| name_in(dir, path))
        })
    }

    /// The names of the files that should not be there any more. The supervisor may leave `expected`; with `stale`, the
    /// files of the killed supervisor may still be there.
    pub(crate) fn left(&self, dir: &TestDir, expected: &[&str], stale: bool) -> Vec<String> {
        let mut found = BTreeSet::new();
        collect(dir.root(), &mut found);
        let ours = [
            "trace", "stdout", "stderr", "never", "log", "log.1", "tmp", "env",
        ];
        let is_stale = |path: &Path, name: &str| match name {
            "pid" => dir.read(name) == STALE_PID_FILE,
            "status" => dir.read(name) == STALE_STATUS_FILE,
            "sock" | "control" => UnixStream::connect(path).is_err(),
            _ => false,
        };
        let mut left = Vec::new();
        for path in found {
            let name = name_in(dir, &path);
            let may_stay = ours.contains(&name.as_str())
                || expected.contains(&name.as_str())
                || self.files.iter().any(|(other, ..)| *other == path)
                || (stale && is_stale(&path, &name));
            if !may_stay {
                left.push(name);
            }
        }
        left
    }
}

fn name_in(dir: &TestDir, path: &Path) -> String {
    let inside = path.strip_prefix(dir.root()).unwrap_or(path);
    inside.to_string_lossy().into_owned()
}

fn collect(directory: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, into);
        }
        into.insert(path);
    }
}
