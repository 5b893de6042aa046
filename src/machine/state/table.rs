//! The transition table: what happens in which phase, and which phase follows.
//!
//! The phase changes in one place, [`MachineState::handle`]. Below it there is one function for each
//! kind of event, whose arms name every phase; the comment at an arm names the phases that may follow.
//! `docs/state-machine.md` is the same table as the exhaustive walk has seen it.
//!
//! In these comments *next reload* means: `Checking` or `Spawning`, for a reload that was requested
//! too late for the start that has just ended.

use super::{MachineState, Phase};
use crate::machine::action::{Action, Report};
use crate::machine::context::Context;
use crate::machine::event::{Event, Generation, Notification, SpawnFailure, Time, Trigger};
use crate::machine::rules::Readiness;
use crate::machine::workers::Role;
use crate::types::{Pid, Signal};
use Phase::*;

/// The exit status after a stop that was asked for.
const STOPPED: u8 = 0;

impl MachineState {
    /// Does what the event calls for, and moves to the phase that follows.
    pub(in crate::machine) fn handle(&mut self, cx: &mut Context<'_>, event: Event) {
        self.phase = match event {
            Event::Hup => self.on_reload_requested(cx, Trigger::Hup),
            Event::SocketReplaced => self.on_reload_requested(cx, Trigger::SocketReplaced),
            Event::ReloadRequested(request) => {
                self.requests.add(request);
                self.on_reload_requested(cx, Trigger::Request)
            }
            Event::RequesterGone(id) => {
                self.requests.forget(id);
                self.phase
            }
            Event::CheckPassed => self.on_check_passed(cx),
            Event::CheckFailed => self.on_check_failed(cx),
            Event::Stop(received) => self.on_stop(cx, received),
            Event::Spawned(pid) => self.on_spawned(cx, pid),
            Event::SpawnFailed(why) => self.on_spawn_failed(cx, why),
            Event::Notified(generation, notification) => {
                self.on_notified(cx, generation, notification)
            }
            Event::Exited(pid, status) => self.on_exited(cx, pid, Some(status)),
            Event::AdoptedExited(pid) => self.on_exited(cx, pid, None),
            Event::SettingsChanged(settings) => {
                cx.rules.live_settings = settings;
                self.phase
            }
            Event::Resumed => self.on_resumed(cx),
            Event::Tick => self.on_tick(cx),
        };
    }

    fn on_reload_requested(&mut self, cx: &mut Context<'_>, by: Trigger) -> Phase {
        match self.phase {
            // -> Checking, Spawning
            Serving => self.reload(cx, by),
            // -> WaitingToStart, Spawning
            WaitingToStart { until } => self.expedite_retry(cx, by, until),
            phase @ (Checking { .. } | Spawning { .. } | Starting { .. } | KillOldDelay { .. }) => {
                self.queue_reload(cx, by);
                phase
            }
            phase @ (Stopping { .. } | Ended) => {
                self.requests.stopped(cx);
                phase
            }
        }
    }

    fn on_resumed(&mut self, cx: &mut Context<'_>) -> Phase {
        self.restart_worker_times(cx);
        let again = |length: Time| cx.now.saturating_add(length);
        match self.phase {
            Checking { since, until } => Checking {
                since: cx.now,
                until: again(until.saturating_sub(since)),
            },
            Starting {
                generation,
                since,
                until,
            } => Starting {
                generation,
                since: cx.now,
                until: again(until.saturating_sub(since)),
            },
            KillOldDelay { kill_at } => KillOldDelay {
                kill_at: kill_at.max(again(cx.rules.live_settings.kill_old_delay)),
            },
            phase @ (Serving
            | WaitingToStart { .. }
            | Spawning { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }

    fn on_check_passed(&mut self, cx: &mut Context<'_>) -> Phase {
        match self.phase {
            // -> Spawning
            Checking { .. } => self.spawn(cx),
            // The check was ended, and has passed meanwhile.
            phase @ (Serving
            | WaitingToStart { .. }
            | Spawning { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }

    fn on_check_failed(&mut self, cx: &mut Context<'_>) -> Phase {
        match self.phase {
            // -> Serving, next reload
            Checking { .. } => self.check_failed(cx, None),
            // The check was ended, and has failed for that.
            phase @ (Serving
            | WaitingToStart { .. }
            | Spawning { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }

    fn on_stop(&mut self, cx: &mut Context<'_>, received: Signal) -> Phase {
        match self.phase {
            // -> Stopping
            Checking { .. } => {
                cx.act(Action::EndCheck);
                self.stop(cx, received, STOPPED)
            }
            // -> Stopping; Ended if no worker is alive
            Serving
            | WaitingToStart { .. }
            | Spawning { .. }
            | Starting { .. }
            | KillOldDelay { .. } => self.stop(cx, received, STOPPED),
            // -> Stopping
            Stopping { code } => self.stop(cx, received, code),
            Ended => Ended,
        }
    }

    fn on_spawned(&mut self, cx: &mut Context<'_>, pid: Pid) -> Phase {
        match self.phase {
            // -> Starting
            Spawning { generation } => self.spawned(cx, generation, pid),
            // No process was asked for.
            phase @ (Serving
            | Checking { .. }
            | WaitingToStart { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }

    fn on_spawn_failed(&mut self, cx: &mut Context<'_>, why: SpawnFailure) -> Phase {
        match self.phase {
            // -> WaitingToStart; given up: Serving, Stopping, Ended
            Spawning { generation } => self.spawn_failed(cx, generation, why),
            // No process was asked for.
            phase @ (Serving
            | Checking { .. }
            | WaitingToStart { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }

    fn on_notified(
        &mut self,
        cx: &mut Context<'_>,
        from: Generation,
        notification: Notification,
    ) -> Phase {
        match self.phase {
            Starting {
                generation,
                since,
                until,
            } if generation == from => match (notification, cx.rules.readiness) {
                // -> KillOldDelay, Serving, next reload
                (Notification::Ready, Readiness::Auto | Readiness::Notify) => {
                    self.ready(cx, generation)
                }
                // -> Starting
                (Notification::Extend(by), Readiness::Notify) => {
                    cx.report(Report::Extended { generation, by });
                    Starting {
                        generation,
                        since,
                        until: until.max(cx.now.saturating_add(by)),
                    }
                }
                (Notification::Ready, Readiness::Alive)
                | (Notification::Extend(_), Readiness::Auto | Readiness::Alive)
                | (Notification::Ping | Notification::Stuck, _) => self.phase,
            },
            // From a worker that is not starting.
            phase @ (Serving
            | Checking { .. }
            | WaitingToStart { .. }
            | Spawning { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => {
                self.notified(cx, from, notification);
                phase
            }
        }
    }

    fn on_exited(&mut self, cx: &mut Context<'_>, pid: Pid, status: Option<i32>) -> Phase {
        let Some((dead, role)) = self.workers.remove(pid) else {
            return self.phase; // not a worker
        };
        let next = match (self.phase, role) {
            // -> WaitingToStart; given up: Serving, next reload, Stopping, Ended
            (Starting { .. }, Role::New) => self.new_died(cx, &dead, status),

            // -> WaitingToStart, Spawning
            (Serving | KillOldDelay { .. }, Role::Current) => {
                let expedited = self.reload_wanted.is_some();
                self.replace(cx, &dead, status, expedited)
            }
            // Without a worker that serves there is no point in a check.
            // -> WaitingToStart, Spawning
            (Checking { .. }, Role::Current) => {
                cx.act(Action::EndCheck);
                self.replace(cx, &dead, status, true)
            }
            // -> WaitingToStart, Spawning
            (WaitingToStart { until }, Role::Current) => {
                self.old_died(cx, &dead, status, true);
                self.retry_now(cx, until)
            }
            // The new worker replaces the dead one, too.
            (phase @ (Spawning { .. } | Starting { .. }), Role::Current) => {
                self.old_died(cx, &dead, status, true);
                phase
            }

            (
                phase @ (Serving
                | Checking { .. }
                | WaitingToStart { .. }
                | Spawning { .. }
                | Starting { .. }
                | KillOldDelay { .. }),
                Role::Old,
            ) => {
                self.old_died(cx, &dead, status, false);
                phase
            }
            (
                phase @ (Serving
                | Checking { .. }
                | WaitingToStart { .. }
                | Spawning { .. }
                | Starting { .. }
                | KillOldDelay { .. }),
                Role::GivenUp,
            ) => {
                self.given_up_died(cx, &dead, status);
                phase
            }

            // -> Stopping; Ended if it was the last one
            (Stopping { code }, Role::New | Role::Current | Role::Old | Role::GivenUp) => {
                self.stopping_worker_died(cx, &dead, status, code)
            }

            // Impossible: a worker is new in `Starting` alone, and the caller exits in `Ended`.
            (
                phase @ (Serving
                | Checking { .. }
                | WaitingToStart { .. }
                | Spawning { .. }
                | KillOldDelay { .. }),
                Role::New,
            )
            | (phase @ Ended, Role::New | Role::Current | Role::Old | Role::GivenUp) => phase,
        };
        self.answer_drained(cx);
        next
    }

    fn on_tick(&mut self, cx: &mut Context<'_>) -> Phase {
        self.kill_overdue(cx);
        self.abort_silent(cx);
        match self.phase {
            // -> Checking, Spawning
            Serving => match self.auto_restart_due(cx) {
                Some(interval) => self.auto_restart(cx, interval),
                None => Serving,
            },
            // -> Serving, next reload
            Checking { since, until } if until <= cx.now => {
                self.check_failed(cx, Some(until.saturating_sub(since)))
            }
            // -> Spawning
            WaitingToStart { until } if until <= cx.now => self.spawn(cx),
            // -> KillOldDelay, Serving, next reload; with Readiness::Notify WaitingToStart, and given
            // up: Serving, next reload, Stopping
            Starting {
                generation,
                since,
                until,
            } if until <= cx.now => {
                self.start_time_over(cx, generation, until.saturating_sub(since))
            }
            // -> Serving, next reload; KillOldDelay if the new worker is stuck
            KillOldDelay { kill_at } if kill_at <= cx.now => self.kill_old_delay_over(cx),
            // The time has not come yet, or there is none.
            phase @ (Checking { .. }
            | WaitingToStart { .. }
            | Spawning { .. }
            | Starting { .. }
            | KillOldDelay { .. }
            | Stopping { .. }
            | Ended) => phase,
        }
    }
}
