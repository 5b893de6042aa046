//! The processes that listen where we cannot bind, for the error message.

use std::fs;

use nix::unistd::getpid;

use super::environ::{self, Told};
use super::{list, listening, process};
use crate::machine::Generation;
use crate::sockets::Wanted;
use crate::types::Pid;

/// More are not named.
const MOST: usize = 10;

/// A sentence that names the processes; none if none can be seen.
pub(super) fn describe(wanted: &[Wanted]) -> Option<String> {
    let inodes = |wanted: &Wanted| listening::inodes(&wanted.address);
    let inodes: Vec<u64> = wanted.iter().flat_map(inodes).collect();
    let holders = holders(&inodes);
    if holders.is_empty() {
        return None;
    }
    let are_orphans = holders.iter().all(|pid| generation(*pid).is_some());
    let named: Vec<String> = holders.iter().map(|pid| name(*pid)).collect();
    let mut text = format!("held by {}", named.join(", "));
    if are_orphans {
        let what = match holders.len() {
            1 => "a worker",
            _ => "workers",
        };
        text.push_str(&format!(
            ": {what} of a supervisor that was killed. With its --status-file this one would take over; \
             without, end it with: kill -TERM {}",
            list(&holders)
        ));
    }
    Some(text)
}

/// The processes that hold one of these sockets, without us, those that are known, and the children of
/// all of them.
pub(super) fn unknown(inodes: &[u64], known: &[Pid]) -> Vec<Pid> {
    let us = getpid().as_raw();
    let mut holders = holders(inodes);
    holders.retain(|pid| *pid != us && !known.contains(pid));
    holders
}

/// The processes that hold one of these sockets, without the children of those that do.
fn holders(inodes: &[u64]) -> Vec<Pid> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<Pid>().ok()
    });
    let holds = |pid: &Pid| {
        let sockets = process::sockets(*pid).unwrap_or_default();
        sockets.iter().any(|(_, inode)| inodes.contains(inode))
    };
    let all: Vec<Pid> = pids.filter(holds).collect();
    let is_child = |pid: &Pid| process::parent(*pid).is_ok_and(|parent| all.contains(&parent));
    let mut first: Vec<Pid> = all.iter().copied().filter(|pid| !is_child(pid)).collect();
    first.sort_unstable();
    first.truncate(MOST);
    first
}

/// The generation that its environment says it is of, if it is a worker's.
pub(super) fn generation(pid: Pid) -> Option<Generation> {
    match environ::parse(&process::environ(pid).ok()?) {
        Told::Worker { generation, .. } => Some(generation),
        Told::Overwritten | Told::Nothing => None,
    }
}

pub(super) fn name(pid: Pid) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("process {pid} ({name})")
}
