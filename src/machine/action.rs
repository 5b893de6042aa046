//! What comes out of the machine: the actions.

use std::time::Duration;

use super::event::{Generation, Request, Trigger};
use crate::types::{Pid, Signal};

/// What the caller has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start a worker of this generation, and give the machine [`Event::Spawned`] or
    /// [`Event::SpawnFailed`] before any other event.
    ///
    /// [`Event::Spawned`]: super::Event::Spawned
    /// [`Event::SpawnFailed`]: super::Event::SpawnFailed
    Spawn(Generation),
    /// Start the check before a reload to this generation, and give the machine
    /// [`Event::CheckPassed`] or [`Event::CheckFailed`] when it has ended.
    ///
    /// [`Event::CheckPassed`]: super::Event::CheckPassed
    /// [`Event::CheckFailed`]: super::Event::CheckFailed
    Check(Generation),
    /// Kill the check. Its result does not matter any more.
    EndCheck,
    /// Tell the client that made this request what has become of it.
    Answer(Request, Answer),
    /// Send the signal to the worker. The worker has not been reaped, so the pid is still its own.
    Signal(Pid, Signal),
    /// End the worker and everything that it has started, by SIGKILL.
    Kill(Pid),
    /// End a stuck worker by SIGABRT, for a core dump. What it has started is ended when it is dead.
    Abort(Pid),
    /// Write the status file: the list of live workers has changed.
    PublishStatus,
    /// Log this, and tell the service manager and the clients.
    Report(Report),
    /// Leave the loop with this exit status.
    Exit(u8),
}

/// What has become of a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// This generation has taken over. The last answer with [`Until::Ready`](super::Until::Ready).
    Replaced(Generation),
    /// All generations before this one are dead. The last answer with
    /// [`Until::Drained`](super::Until::Drained).
    Drained(Generation),
    /// The reload was given up.
    Failed {
        /// The generation that keeps serving, if there is one.
        kept: Option<Generation>,
    },
    /// The supervisor is stopping.
    Stopped,
}

/// What has happened: for the log, the service manager and the clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    /// A worker process exists. It is not ready yet.
    Started {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
    },
    /// The newest worker counts as started and is the current one from now on.
    Ready {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
    },
    /// A worker died before it was ready.
    FailedToStart {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status; `None` if the worker was adopted.
        status: Option<i32>,
    },
    /// A worker did not say in time that it is ready. It is stopped.
    NeverReady {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it had.
        after: Duration,
    },
    /// A worker has asked for this much time from now on, and has got it.
    Extended {
        /// Its generation.
        generation: Generation,
        /// What it asked for.
        by: Duration,
    },
    /// A ready worker has not pinged in time, or has said that it is stuck. It gets SIGABRT.
    Stuck {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it was silent; `None` if the worker itself said that it is stuck.
        silent: Option<Duration>,
    },
    /// An attempt started no process. The caller has logged the reason.
    NotSpawned {
        /// The number that the attempt used up.
        generation: Generation,
    },
    /// This many attempts in a row have failed. No more are made.
    GaveUp {
        /// How many.
        attempts: u32,
        /// The generation that keeps serving, if there is one.
        kept: Option<Generation>,
    },
    /// The current worker died without having been told to leave.
    DiedUnexpectedly {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status; `None` if the worker was adopted.
        status: Option<i32>,
        /// The pause before its replacement is started.
        pause: Duration,
    },
    /// A worker died that is not the current one, or whose replacement is being started.
    OldDied {
        /// It was the current worker: no worker serves until the new one is ready.
        was_current: bool,
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// Raw wait status; `None` if the worker was adopted.
        status: Option<i32>,
    },
    /// A reload begins.
    Reloading(Trigger),
    /// A reload is wanted while a start is under way. It follows that start.
    ReloadQueued(Trigger),
    /// The check before a reload has failed. No worker is started.
    CheckFailed {
        /// How long the check had, if it was still running by then.
        timed_out: Option<Duration>,
        /// The generation that keeps serving.
        kept: Option<Generation>,
    },
    /// The auto-restart interval has passed.
    AutoRestart {
        /// The interval in force.
        interval: Duration,
        /// Old workers are still alive, but twice the interval has passed.
        forced: bool,
    },
    /// A reload has succeeded: these old workers are about to be signalled.
    Replacing {
        /// The signal for them.
        signal: Signal,
        /// In numeric order.
        old: Vec<Pid>,
    },
    /// The old workers live on for this long.
    KillDelayed(Duration),
    /// The old workers are signalled now.
    KillingOld,
    /// The start that was under way has succeeded or been given up.
    Settled,
    /// A stop: the supervisor exits when the last worker is dead.
    Stopping {
        /// The signal that the supervisor got; `None` if it gave up.
        received: Option<Signal>,
        /// It was asked for before: the signal goes to all workers, also to those that have been told.
        again: bool,
        /// The signal for the workers.
        signal: Signal,
        /// Those that are told to leave now, in numeric order.
        workers: Vec<Pid>,
        /// How many workers are alive.
        alive: usize,
    },
    /// A worker died during a stop, or after it had failed to become ready.
    StoppedWorker {
        /// Its process.
        pid: Pid,
        /// Raw wait status; `None` if the worker was adopted.
        status: Option<i32>,
    },
    /// A worker did not leave in time. It gets SIGKILL.
    Overdue {
        /// Its generation.
        generation: Generation,
        /// Its process.
        pid: Pid,
        /// How long it had.
        after: Duration,
    },
    /// The supervisor ends, for it could not start a generation, and leaves these adopted workers.
    LeftBehind {
        /// In numeric order.
        workers: Vec<Pid>,
    },
    /// No worker is left and none will be started.
    Exiting,
}
