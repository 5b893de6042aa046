//! The transitions that a walk has seen, in words: for `document.rs`.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use super::fingerprint::{Fingerprint, FingerprintSet};
use crate::machine::state::Phase;
use crate::machine::workers::Role;
use crate::machine::*;

/// A transition without its pids, generations and times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Transition {
    pub(super) phase: &'static str,
    pub(super) event: EventName,
    pub(super) next: &'static str,
    pub(super) actions: Vec<&'static str>,
}

/// An event, and the worker from which it comes, if it comes from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EventName {
    pub(super) what: &'static str,
    pub(super) whose: Option<&'static str>,
}

/// The name of [`Event::Stop`].
pub(super) const STOP: &str = "TERM, INT or QUIT";

/// All transitions of a walk.
#[derive(Default)]
pub(super) struct Observed {
    transitions: BTreeSet<Transition>,
    known: FingerprintSet,
}

impl Observed {
    /// Hands an event to the machine, and notes what comes of it.
    pub(super) fn handle(&mut self, machine: &mut Machine, event: Event, now: Time) -> Vec<Action> {
        let phase = machine.state.phase();
        let name = event_name(machine, &event, now);
        let actions = machine.handle(event, now);
        let next = machine.state.phase();

        let mut hasher = Fingerprint::default();
        (discriminant(&phase), discriminant(&next)).hash(&mut hasher);
        (name.what.as_ptr(), name.whose.map(str::as_ptr)).hash(&mut hasher);
        for action in &actions {
            action_name(action).as_ptr().hash(&mut hasher);
        }
        if self.known.insert(hasher.finish()) {
            self.transitions.insert(Transition {
                phase: phase_name(phase),
                event: name,
                next: phase_name(next),
                actions: names(&actions),
            });
        }
        actions
    }

    pub(super) fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.transitions.iter()
    }
}

pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => "Serving",
        Phase::Checking { .. } => "Checking",
        Phase::WaitingToStart { .. } => "WaitingToStart",
        Phase::Spawning { .. } => "Spawning",
        Phase::Starting { .. } => "Starting",
        Phase::KillOldDelay { .. } => "KillOldDelay",
        Phase::Stopping { .. } => "Stopping",
        Phase::Ended => "Ended",
    }
}

fn event_name(machine: &Machine, event: &Event, now: Time) -> EventName {
    let workers = &machine.state.workers;
    let (what, pid) = match *event {
        Event::Hup => ("HUP", None),
        Event::SocketReplaced => ("listening socket replaced", None),
        Event::ReloadRequested(_) => ("reload request", None),
        Event::RequesterGone(_) => ("client disconnected", None),
        Event::CheckPassed => ("check passed", None),
        Event::CheckFailed => ("check failed", None),
        Event::Stop(_) => (STOP, None),
        Event::Spawned(_) => ("spawned", None),
        Event::SpawnFailed(SpawnFailure::Transient) => ("spawn failed", None),
        Event::SpawnFailed(SpawnFailure::Permanent) => ("spawn failed for good", None),
        Event::Notified(generation, notification) => {
            let worker = workers.iter().find(|w| w.generation == generation);
            let what = match notification {
                Notification::Ready => "`READY=1`",
                Notification::Extend(_) => "`EXTEND_TIMEOUT_USEC=`",
                Notification::Ping => "`WATCHDOG=1`",
                Notification::Stuck => "`WATCHDOG=trigger`",
            };
            (what, worker.map(|w| w.pid))
        }
        Event::Exited(pid, _) | Event::AdoptedExited(pid) => ("death", Some(pid)),
        Event::SettingsChanged(_) => ("settings changed", None),
        Event::Resumed => ("resumed after an absence", None),
        Event::Tick => (tick_name(machine, now), None),
    };
    let whose = pid.map(|pid| match workers.role(pid) {
        Some(Role::New) => "the new worker",
        Some(Role::Current) => "the current worker",
        Some(Role::Old) => "an old worker",
        Some(Role::GivenUp) => "a given-up worker",
        None => "another process",
    });
    EventName { what, whose }
}

/// A tick, by what it means for the phase.
fn tick_name(machine: &Machine, now: Time) -> &'static str {
    let by_notification = machine.rules.readiness == Readiness::Notify;
    let restart_at = machine.state.next_auto_restart(&machine.rules);
    match machine.state.phase() {
        Phase::Serving if restart_at.is_some_and(|at| at <= now) => "auto-restart interval over",
        Phase::Checking { until, .. } if until <= now => "check timed out",
        Phase::WaitingToStart { until } if until <= now => "time to start",
        Phase::Starting { until, .. } if until <= now => match by_notification {
            true => "start timed out",
            false => "interval over",
        },
        Phase::KillOldDelay { kill_at } if kill_at <= now => "kill-old-delay over",
        Phase::Serving
        | Phase::Checking { .. }
        | Phase::WaitingToStart { .. }
        | Phase::Spawning { .. }
        | Phase::Starting { .. }
        | Phase::KillOldDelay { .. }
        | Phase::Stopping { .. }
        | Phase::Ended => "tick",
    }
}

pub(super) fn names(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(action_name).collect()
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Spawn(_) => "spawn",
        Action::Check(_) => "start the check",
        Action::EndCheck => "end the check",
        Action::Answer(_, Answer::Replaced(_)) => "answer replaced",
        Action::Answer(_, Answer::Drained(_)) => "answer drained",
        Action::Answer(_, Answer::Failed { .. }) => "answer failed",
        Action::Answer(_, Answer::Stopped) => "answer stopped",
        Action::Abort(_) => "SIGABRT",
        Action::Kill(_) => "SIGKILL",
        Action::Signal(..) => "signal",
        Action::PublishStatus => "write status file",
        Action::Report(report) => report_name(report),
        Action::Exit(0) => "exit 0",
        Action::Exit(_) => "exit 1",
    }
}

fn report_name(report: &Report) -> &'static str {
    match report {
        Report::Started { .. } => "`Started`",
        Report::Ready { .. } => "`Ready`",
        Report::FailedToStart { .. } => "`FailedToStart`",
        Report::NeverReady { .. } => "`NeverReady`",
        Report::Extended { .. } => "`Extended`",
        Report::Stuck { .. } => "`Stuck`",
        Report::NotSpawned { .. } => "`NotSpawned`",
        Report::GaveUp { .. } => "`GaveUp`",
        Report::DiedUnexpectedly { .. } => "`DiedUnexpectedly`",
        Report::OldDied { .. } => "`OldDied`",
        Report::Reloading(_) => "`Reloading`",
        Report::ReloadQueued(_) => "`ReloadQueued`",
        Report::CheckFailed { .. } => "`CheckFailed`",
        Report::AutoRestart { .. } => "`AutoRestart`",
        Report::Replacing { .. } => "`Replacing`",
        Report::KillDelayed(_) => "`KillDelayed`",
        Report::KillingOld => "`KillingOld`",
        Report::Settled => "`Settled`",
        Report::Stopping { .. } => "`Stopping`",
        Report::StoppedWorker { .. } => "`StoppedWorker`",
        Report::Overdue { .. } => "`Overdue`",
        Report::LeftBehind { .. } => "`LeftBehind`",
        Report::Exiting => "`Exiting`",
    }
}
