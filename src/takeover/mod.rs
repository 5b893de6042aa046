//! Taking over from a supervisor that was killed.
//!
//! Its workers serve on, and hold the addresses. The status file that it has left names them. A process
//! is one of them only if all of this holds, and then beyond doubt:
//!
//! - The file is ours, no other user can have written it, and no running supervisor holds its lock.
//! - The process was started before the file was written: it is the one that the file names, and not
//!   another one that has got the same number since.
//! - Its user is ours, or we are root.
//! - Its environment says that it is a worker of that generation, and on which descriptors it got which
//!   sockets. (Servers that write their title over their environment have none to be looked at.)
//! - It holds a socket that listens where one of our options wants it to, or that we have inherited.
//! - Its parent does not hold that socket: a supervisor that lives would.
//!
//! The process is held by a pidfd from before the first look, and must still live after the last one, so
//! that all was seen of one process. Only then its sockets are duplicated, pidfd_getfd(2); they take the
//! place of binding. What cannot be taken over is left alone: never is a signal sent to it.

mod adopted;
mod environ;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod holders;
mod listening;
mod process;
mod recognition;

pub(crate) use adopted::{Adopted, SavedAdopted};
pub(crate) use recognition::Orphan;

use std::os::fd::RawFd;
use std::path::Path;

use crate::error::{DisplayIoError, Error};
use crate::files::{MAX_GENERATION, StaleStatus, StatusEntry};
use crate::log;
use crate::machine::Generation;
use crate::sockets::{Plan, Wanted};
use crate::types::Pid;
use recognition::{Recognition, Refusal};

/// What a supervisor that was killed has left to us. Until it is dropped no other supervisor that is
/// started now takes the same over.
#[derive(Default)]
pub(crate) struct TakeOver {
    /// In the order of their generations.
    pub(crate) workers: Vec<Orphan>,
    /// The highest number in the status file; 0 if no worker is taken over.
    pub(crate) last_generation: Generation,
    /// Processes that the kernel does not let us take over, and the first reason.
    forbidden: Vec<Pid>,
    reason: String,
    /// The sockets that are still to be bound.
    wanted: Vec<Wanted>,
    /// Other processes that hold a socket that was taken over.
    unknown: Vec<Pid>,
    status: Option<StaleStatus>,
}

impl TakeOver {
    /// Recognises the workers that this status file names, and has their sockets take the place of
    /// binding. What is opened for that is on descriptor `min_fd` or higher.
    pub(crate) fn find(status_file: Option<&Path>, plan: &mut Plan, min_fd: RawFd) -> TakeOver {
        let mut found = TakeOver::default();
        let inherited = plan.inodes();
        if let Some(path) = status_file {
            match StaleStatus::read(path, min_fd) {
                Ok(status) => found.status = status,
                Err(e) => tracing::warn!(
                    "no worker is taken over: status file {} cannot be trusted: {}",
                    path.display(),
                    DisplayIoError(&e)
                ),
            }
        }
        let status = found.status.take();
        if let Some(status) = &status {
            let recognition = Recognition::new(status.written, plan, min_fd);
            for entry in &status.entries {
                found.take(*entry, &recognition, plan);
            }
            if !found.workers.is_empty() {
                let generations = status.entries.iter().map(|entry| entry.generation);
                found.last_generation = generations.max().unwrap_or(0);
            }
        }
        found.status = status;
        found.workers.reverse();
        found.wanted = plan.wanted();
        if !found.workers.is_empty() {
            let mut taken = plan.inodes();
            taken.retain(|inode| !inherited.contains(inode));
            found.look_for_others(&taken);
        }
        found
    }

    fn take(&mut self, entry: StatusEntry, recognition: &Recognition, plan: &mut Plan) {
        let StatusEntry { generation, pid } = entry;
        match recognition.examine(entry, plan) {
            Ok(orphan) => self.workers.push(orphan),
            Err(Refusal::Ended) => {}
            Err(Refusal::NotOurs(why)) => tracing::info!(
                "process {pid}, generation {generation} in the status file, is left alone: {why}"
            ),
            Err(Refusal::Forbidden(why)) => {
                tracing::warn!(
                    "process {pid}, generation {generation} in the status file, cannot be taken over: {why}"
                );
                if self.forbidden.is_empty() {
                    self.reason = why;
                }
                self.forbidden.push(pid);
            }
        }
    }

    /// A worker that was not ready yet is not in the status file. It is left alone, but the number of
    /// its generation is not used again.
    fn look_for_others(&mut self, taken: &[u64]) {
        let known: Vec<Pid> = self.workers.iter().map(|worker| worker.pid).collect();
        self.unknown = holders::unknown(taken, &known);
        let generations = self
            .unknown
            .iter()
            .filter_map(|pid| holders::generation(*pid));
        let used = generations.filter(|generation| *generation < MAX_GENERATION);
        self.last_generation = used.fold(self.last_generation, Generation::max);
    }

    /// Adds the processes that hold the address to an error that says that it is in use.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let taken = match &error {
            Error::Socket { source, .. } => source.raw_os_error() == Some(libc::EADDRINUSE),
            Error::PathTaken { what, .. } => what.contains("listens"),
            _ => false,
        };
        if !taken {
            return error;
        }
        let hint = match self.forbidden.is_empty() {
            false => Some(format!(
                "workers of a supervisor that was killed may hold it, and cannot be taken over ({}): \
                 end them with: kill -TERM {}",
                self.reason,
                list(&self.forbidden)
            )),
            true => holders::describe(&self.wanted),
        };
        match hint {
            Some(hint) => Error::AddressHeld {
                source: Box::new(error),
                hint,
            },
            None => error,
        }
    }

    /// Logs what is taken over, if anything is, and which other processes hold the sockets.
    pub(crate) fn tell(&self) {
        if self.workers.is_empty() {
            return;
        }
        let workers = self.workers.iter();
        let workers: Vec<_> = workers
            .map(|worker| (worker.generation, worker.pid))
            .collect();
        log::taking_over(&workers).write();
        for pid in &self.unknown {
            tracing::warn!(
                "{} holds a socket that was taken over, and is left alone: it is not in the status file. \
                 A worker that was not ready yet? End it with: kill -TERM {pid}",
                holders::name(*pid)
            );
        }
    }
}

fn list(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    pids.join(" ")
}
