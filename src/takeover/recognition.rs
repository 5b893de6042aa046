//! Whether a process is a worker of a supervisor that was killed. The conditions are in `mod.rs`.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;
use std::time::{Duration, SystemTime};

use nix::unistd::{geteuid, getpid};

use super::environ::{self, Told};
use super::{listening, process};
use crate::error::DisplayIoError;
use crate::files::StatusEntry;
use crate::machine::Generation;
use crate::sockets::{Offer, Plan};
use crate::sys;
use crate::sys::pidfd::PidFd;
use crate::types::Pid;

/// The age of a process is known to a clock tick, 10 ms, and so is the time of a file.
const TOLERANCE: Duration = Duration::from_millis(20);

/// What supervisors are called: this one, and Perl's.
const NAME: &str = "start_server";

/// How often we look for a parent: it may end, and the process get another.
const TRIES: usize = 5;

/// A worker that a supervisor has left that was killed.
pub(crate) struct Orphan {
    pub(crate) generation: Generation,
    pub(crate) pid: Pid,
    pub(crate) process: PidFd,
    pub(crate) age: Duration,
    /// It is our child nevertheless: the supervisor before us was this very process.
    pub(crate) is_child: bool,
}

/// Why a process is not taken over.
pub(super) enum Refusal {
    /// It has ended.
    Ended,
    /// It is no worker of ours.
    NotOurs(String),
    /// The kernel does not let us look, or have its sockets.
    Forbidden(String),
}

impl From<io::Error> for Refusal {
    /// Of an error in /proc.
    fn from(error: io::Error) -> Refusal {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Refusal::Ended,
            _ => Refusal::Forbidden(format!("reading /proc: {}", DisplayIoError(&error))),
        }
    }
}

/// What does not depend on the process.
pub(super) struct Recognition {
    /// When the status file was written.
    written: SystemTime,
    /// The inode numbers of the sockets that we were started with. The service manager has them, too.
    inherited: Vec<u64>,
    min_fd: RawFd,
}

impl Recognition {
    pub(super) fn new(written: SystemTime, plan: &Plan, min_fd: RawFd) -> Recognition {
        Recognition {
            written,
            inherited: plan.inodes(),
            min_fd,
        }
    }

    /// Takes hold of the process, looks at it, and has its sockets take the place of binding.
    pub(super) fn examine(&self, entry: StatusEntry, plan: &mut Plan) -> Result<Orphan, Refusal> {
        let StatusEntry { generation, pid } = entry;
        let process = PidFd::open(pid).map_err(|e| match e.raw_os_error() {
            // EINVAL, ENOENT: it is a thread, and no process.
            Some(libc::ESRCH | libc::EINVAL | libc::ENOENT) => Refusal::Ended,
            _ => forbidden("pidfd_open", &e),
        })?;
        let looked = self.look(entry, plan);
        // Else what was seen may be of another process, with the same number.
        if process.has_ended() {
            return Err(Refusal::Ended);
        }
        let Seen {
            age,
            held,
            is_child,
        } = looked?;
        let mut is_ours = false;
        for (number, inode) in held {
            is_ours |= fetch(&process, number, inode, plan)?;
        }
        if !is_ours {
            let why = "it listens on no address of --port and --path";
            return Err(not_ours(why));
        }
        let process = process.move_above(self.min_fd);
        let process = process.map_err(|e| forbidden("dup", &e))?;
        Ok(Orphan {
            generation,
            pid,
            process,
            age,
            is_child,
        })
    }

    fn look(
        &self,
        StatusEntry { generation, pid }: StatusEntry,
        plan: &Plan,
    ) -> Result<Seen, Refusal> {
        let age = process::age(pid)?;
        let Ok(file_age) = SystemTime::now().duration_since(self.written) else {
            let why = "by the clock, the status file has yet to be written";
            return Err(not_ours(why));
        };
        if age + TOLERANCE < file_age {
            return Err(not_ours("it was started after the status file was written"));
        }
        let me = geteuid().as_raw();
        let users = process::users(pid)?;
        if me != 0 && users != (me, me) {
            let why = format!("it belongs to user {}", users.1);
            return Err(not_ours(&why));
        }
        let told = environ::parse(&process::environ(pid)?);
        match &told {
            Told::Worker {
                generation: own, ..
            } if *own != generation => {
                let why = format!("by its environment it is of generation {own}");
                return Err(not_ours(&why));
            }
            Told::Nothing => {
                let why =
                    "its environment has no SERVER_STARTER_GENERATION and SERVER_STARTER_PORT";
                return Err(not_ours(why));
            }
            Told::Worker { .. } | Told::Overwritten => {}
        }
        let held = sockets(pid, &told, plan)?;
        let inodes: Vec<u64> = held.iter().map(|(_, inode)| *inode).collect();
        let is_child = self.has_no_supervisor(pid, &inodes)?;
        Ok(Seen {
            age,
            held,
            is_child,
        })
    }

    /// Refuses a process whose parent holds one of these sockets, or may. Says whether we are the
    /// parent.
    fn has_no_supervisor(&self, pid: Pid, sockets: &[u64]) -> Result<bool, Refusal> {
        for _ in 0..TRIES {
            let parent = process::parent(pid)?;
            if parent == getpid().as_raw() {
                return Ok(true);
            }
            let is_manager = u32::try_from(parent) == Ok(parent_id());
            let excused = |inode: &u64| is_manager && self.inherited.contains(inode);
            match process::sockets(parent) {
                Ok(theirs) => {
                    let mut inodes = theirs.iter().map(|(_, inode)| inode);
                    if inodes.any(|inode| sockets.contains(inode) && !excused(inode)) {
                        let why = format!("its parent, process {parent}, holds its socket, too");
                        return Err(not_ours(&why));
                    }
                }
                // A container's process 1, say, which may do more than we. The supervisor that wrote
                // our file is of our user.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    let is_of_our_user = process::users(parent)?.1 == geteuid().as_raw();
                    if is_of_our_user && process::is_named(parent, NAME)? {
                        let why = format!("its parent, process {parent}, is a {NAME}");
                        return Err(not_ours(&why));
                    }
                }
                Err(_) => {} // it has ended
            }
            if process::parent(pid)? == parent {
                return Ok(false);
            }
        }
        Err(not_ours("it changes its parent again and again"))
    }
}

/// What was seen of a process.
struct Seen {
    age: Duration,
    /// Numbers and inode numbers of sockets that may be ours.
    held: Vec<(RawFd, u64)>,
    is_child: bool,
}

/// The sockets on the numbers that the process was given; and, for it may have moved them, those that
/// we have, or that listen where we want to, on any number.
fn sockets(pid: Pid, told: &Told, plan: &Plan) -> io::Result<Vec<(RawFd, u64)>> {
    let wanted = plan.wanted();
    let (numbers, keys): (Vec<RawFd>, Option<Vec<_>>) = match told {
        Told::Worker { sockets, .. } => (
            sockets.iter().map(|(_, number)| *number).collect(),
            Some(sockets.iter().map(|(key, _)| key).collect()),
        ),
        _ => (wanted.iter().map(|wanted| wanted.number).collect(), None),
    };
    let mut held = Vec::new();
    for number in numbers {
        held.extend(process::socket(pid, number)?.map(|inode| (number, inode)));
    }
    let mut sought = plan.inodes();
    let mut moved = sought.clone();
    for wanted in &wanted {
        let inodes = listening::inodes(&wanted.address);
        if keys.as_ref().is_none_or(|keys| keys.contains(&&wanted.key)) {
            moved.extend(&inodes);
        }
        sought.extend(inodes);
    }
    // Without /proc/net nothing is known, and getsockname(2) has to tell.
    if !sought.is_empty() {
        held.retain(|(_, inode)| sought.contains(inode));
    }
    let is_held = |held: &[(RawFd, u64)], inode| held.iter().any(|(_, other)| *other == inode);
    if moved.iter().any(|inode| !is_held(&held, *inode)) {
        for (number, inode) in process::sockets(pid)? {
            if moved.contains(&inode) && !is_held(&held, inode) {
                held.push((number, inode));
            }
        }
    }
    Ok(held)
}

/// Has one socket of the process take the place of binding. Says whether it is one of ours.
fn fetch(process: &PidFd, number: RawFd, inode: u64, plan: &mut Plan) -> Result<bool, Refusal> {
    if plan.inodes().contains(&inode) {
        return Ok(true);
    }
    let fd = match process.duplicate_fd(number) {
        Ok(fd) => fd,
        Err(e) => match e.raw_os_error() {
            Some(libc::EBADF) => return Ok(false), // closed since
            Some(libc::ESRCH) => return Err(Refusal::Ended),
            _ => return Err(forbidden("pidfd_getfd", &e)),
        },
    };
    if sys::fd::metadata(&fd)?.ino() != inode {
        return Ok(false); // another one since
    }
    Ok(plan.offer(fd) != Offer::NotOurs)
}

fn not_ours(why: &str) -> Refusal {
    Refusal::NotOurs(why.to_owned())
}

fn forbidden(what: &str, error: &io::Error) -> Refusal {
    Refusal::Forbidden(format!("{what}: {}", DisplayIoError(error)))
}
