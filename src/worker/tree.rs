//! The descendants of a worker, which are killed with it.
//!
//! The tree is read from proc(5), and a pidfd of every member is opened before the first one is killed, so
//! that no signal reaches another process that got the same pid. A process whose parent has ended (a daemon
//! that forked twice) is not found: it is no descendant any more. Only a cgroup contains those, see
//! `cgroup.rs`.

use std::collections::{HashMap, HashSet};
use std::fs;

use crate::sys::pidfd::PidFd;
use crate::types::{Pid, Signal};

/// How often a tree is read at most. It is read until there are no new members, since it may grow meanwhile.
const MAX_WALKS: usize = 4;

/// The maximum number of processes in a tree.
const MAX_MEMBERS: usize = 10_000;

/// A process and all of its descendants.
pub(crate) struct ProcessTree {
    /// Parents come before their children. A member whose pidfd could not be opened, for lack of descriptors,
    /// is signalled by pid.
    members: Vec<(Pid, Option<PidFd>)>,
}

impl ProcessTree {
    /// The tree of `root`, which is a child of this process that has not been reaped, or a process of which
    /// the caller has a pidfd and checks afterwards that it is alive.
    pub(crate) fn of(root: Pid) -> ProcessTree {
        let mut tree = ProcessTree {
            members: vec![(root, PidFd::open(root).ok())],
        };
        let mut known = HashSet::from([root]);
        let children = Children::new(root);
        for _ in 0..MAX_WALKS {
            if !tree.grow(&mut known, &children) {
                break;
            }
        }
        tree
    }

    /// Adds the children of all members. Returns whether there were new ones.
    fn grow(&mut self, known: &mut HashSet<Pid>, children: &Children) -> bool {
        let before = self.members.len();
        let mut at = 0;
        while let Some(&(parent, _)) = self.members.get(at) {
            for child in children.of(parent) {
                if self.members.len() < MAX_MEMBERS && known.insert(child) {
                    let held = PidFd::open(child).ok();
                    // Checked after the pidfd was opened, since the pid may have been reused before.
                    if parent_of(child) == Some(parent) {
                        self.members.push((child, held));
                    }
                }
            }
            at += 1;
        }
        self.members.len() > before
    }

    /// The pids of all members, the root first.
    #[cfg(test)]
    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.members.iter().map(|(pid, _)| *pid)
    }

    /// Sends `signal` to all members except the root. Members that have ended are skipped.
    pub(crate) fn signal_descendants(&self, signal: Signal) {
        for (pid, held) in self.members.iter().skip(1) {
            let sent = match held {
                Some(held) => held.kill(signal),
                None => crate::sys::process::kill(*pid, signal).map_err(Into::into),
            };
            if let Err(e) = sent {
                tracing::debug!(pid, "not signalled: {e}");
            }
        }
    }
}

/// How the children of a process are found.
enum Children {
    /// From `/proc/PID/task/TID/children`, which needs CONFIG_PROC_CHILDREN.
    Listed,
    /// From the parents of all processes, read once.
    Scanned(HashMap<Pid, Vec<Pid>>),
}

impl Children {
    fn new(root: Pid) -> Children {
        match fs::metadata(format!("/proc/{root}/task/{root}/children")) {
            Ok(_) => Children::Listed,
            Err(_) => Children::Scanned(scan()),
        }
    }

    fn of(&self, parent: Pid) -> Vec<Pid> {
        match self {
            Children::Listed => listed(parent),
            Children::Scanned(map) => map.get(&parent).cloned().unwrap_or_default(),
        }
    }
}

/// The children of all threads of a process: the kernel lists a child at the thread that has forked it.
fn listed(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list.split_ascii_whitespace().map(str::parse);
            pids.filter_map(Result::ok).collect::<Vec<Pid>>()
        })
        .collect()
}

/// The children of all processes.
fn scan() -> HashMap<Pid, Vec<Pid>> {
    let mut map: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids {
        if let Some(parent) = parent_of(pid) {
            map.entry(parent).or_default().push(pid);
        }
    }
    map
}

/// Field 4 of proc_pid_stat(5). The name before it may contain any character.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// A shell with a child and a grandchild.
    fn family() -> (Child, Vec<Pid>) {
        let script = "sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait";
        let mut root = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(root.stdout.take().unwrap()).lines();
        let pids = lines.take(2).map(|line| line.unwrap().parse().unwrap());
        let pids = pids.collect();
        (root, pids)
    }

    fn assert_same(tree: &ProcessTree, root: Pid, descendants: &[Pid]) {
        let mut found: Vec<Pid> = tree.pids().collect();
        let mut expected: Vec<Pid> = [root].into_iter().chain(descendants.to_vec()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn descendants_are_found_and_killed() {
        let (mut root, descendants) = family();
        let pid = root.id() as Pid;
        let tree = ProcessTree::of(pid);
        assert_same(&tree, pid, &descendants);
        let held: Vec<PidFd> = descendants
            .iter()
            .map(|pid| PidFd::open(*pid).unwrap())
            .collect();
        tree.signal_descendants(Signal::KILL);
        root.wait().unwrap(); // the shell ends when its child has ended
        for process in held {
            // Readable once the process has ended, whether it was reaped or not.
            let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1));
        }
    }

    #[test]
    fn scan_of_all_processes_finds_the_same_children_as_the_kernels_list() {
        let (mut root, descendants) = family();
        let pid = root.id() as Pid;
        let mut tree = ProcessTree {
            members: vec![(pid, None)],
        };
        let mut known = HashSet::from([pid]);
        while tree.grow(&mut known, &Children::Scanned(scan())) {}
        assert_same(&tree, pid, &descendants);
        tree.signal_descendants(Signal::KILL);
        root.wait().unwrap();
    }

    #[test]
    fn process_that_has_ended_has_no_descendants() {
        let mut child = Command::new("true").spawn().unwrap();
        let tree = ProcessTree::of(child.id() as Pid);
        child.wait().unwrap();
        assert_eq!(tree.pids().count(), 1);
    }
}
