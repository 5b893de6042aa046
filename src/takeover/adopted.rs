//! The workers that were taken over, held by their pidfds. They are not our children: their wait
//! status goes to another process, and so may their pids once they have ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::Orphan;
use crate::sys;
use crate::sys::pidfd::PidFd;
use crate::sys::reexec::FdSet;
use crate::types::{Pid, Signal};
use crate::worker::ProcessTree;

/// Those that have not ended.
#[derive(Default)]
pub(crate) struct Adopted(Vec<Held>);

struct Held {
    pid: Pid,
    process: PidFd,
    is_child: bool,
}

/// One of them, as the next program in this process gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedAdopted {
    pid: Pid,
    process: RawFd,
    is_child: bool,
}

impl Adopted {
    pub(crate) fn new(orphans: Vec<Orphan>) -> Adopted {
        let held = orphans.into_iter().map(|orphan| Held {
            pid: orphan.pid,
            process: orphan.process,
            is_child: orphan.is_child,
        });
        Adopted(held.collect())
    }

    /// Whether a process that has this pid was taken over.
    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.0.iter().any(|held| held.pid == pid)
    }

    /// Become readable when a process ends.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.watched().map(|held| held.process.as_fd())
    }

    /// Of a child we are told otherwise.
    fn watched(&self) -> impl Iterator<Item = &Held> {
        self.0.iter().filter(|held| !held.is_child)
    }

    /// Takes out one that has ended. `None` if all live.
    pub(crate) fn next_ended(&mut self) -> Option<Pid> {
        let ended = self.watched().find(|held| held.process.has_ended());
        let pid = ended?.pid;
        self.remove(pid).then_some(pid)
    }

    /// Takes one out. Returns whether there was one with this pid.
    pub(crate) fn remove(&mut self, pid: Pid) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.pid != pid);
        self.0.len() < before
    }

    /// Sends a signal to the process that had this pid when it was taken over; KILL, to all that it has
    /// started, too. `None` if there is none with this pid. A process that has just ended needs no signal.
    pub(crate) fn kill(&self, pid: Pid, signal: Signal) -> Option<io::Result<()>> {
        let held = self.0.iter().find(|held| held.pid == pid)?;
        let tree = (signal == Signal::KILL).then(|| ProcessTree::of(pid));
        // Else the tree may be that of another process, with the same number.
        let tree = tree.filter(|_| !held.process.has_ended());
        let sent = held.process.kill(signal);
        if let Some(tree) = tree {
            tree.signal_descendants(Signal::KILL);
        }
        Some(match sent {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        })
    }

    pub(crate) fn save(&self, fds: &mut FdSet) -> Vec<SavedAdopted> {
        let saved = self.0.iter().map(|held| SavedAdopted {
            pid: held.pid,
            process: fds.keep(&held.process),
            is_child: held.is_child,
        });
        saved.collect()
    }

    pub(crate) fn resume(saved: Vec<SavedAdopted>) -> io::Result<Adopted> {
        let held = saved.into_iter().map(|saved| {
            Ok(Held {
                pid: saved.pid,
                process: sys::fd::adopt(saved.process)?.into(),
                is_child: saved.is_child,
            })
        });
        held.collect::<io::Result<_>>().map(Adopted)
    }
}
