//! Every race is a test: what the machine does when two things happen at the worst moment.

mod auto_restart;
mod deaths;
mod notifications;
mod reloads;
mod requests;
mod stop;
mod takeover;

use std::time::Duration;

use super::*;
use crate::types::Signal;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn rules() -> Rules {
    Rules {
        interval: secs(1),
        readiness: Readiness::Auto,
        start_timeout: secs(60),
        worker_watchdog: None,
        signal_on_hup: Signal::TERM,
        signal_on_term: Signal::QUIT,
        start_attempts: 0,
        first_start_attempts: 0,
        check: None,
        stop_timeout: None,
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: Duration::ZERO,
        },
    }
}

/// A machine, a clock, and spawns that succeed: the process of generation N is 100 + N.
struct Fixture {
    machine: Machine,
    now: Time,
    done: Vec<Action>,
    /// The next spawns fail like this, the last one first.
    failures: Vec<SpawnFailure>,
}

impl Fixture {
    /// A machine before its first tick.
    fn new(rules: Rules) -> Fixture {
        Fixture {
            machine: Machine::new(rules),
            now: secs(1000),
            done: vec![],
            failures: vec![],
        }
    }

    /// A machine whose generation 1 serves.
    fn serving(rules: Rules) -> Fixture {
        let mut fixture = Fixture::new(rules);
        fixture.tick();
        fixture.pass(secs(1));
        fixture.done.clear();
        fixture
    }

    fn event(&mut self, event: Event) -> &mut Fixture {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(event, self.now) {
                if let Action::Spawn(generation) = action {
                    events.push_back(match self.failures.pop() {
                        Some(failure) => Event::SpawnFailed(failure),
                        None => Event::Spawned(100 + generation as Pid),
                    });
                }
                self.done.push(action);
            }
        }
        self
    }

    fn tick(&mut self) -> &mut Fixture {
        self.event(Event::Tick)
    }

    fn hup(&mut self) -> &mut Fixture {
        self.event(Event::Hup)
    }

    fn notify(&mut self, generation: Generation, notification: Notification) -> &mut Fixture {
        self.event(Event::Notified(generation, notification))
    }

    fn exit(&mut self, pid: Pid, status: i32) -> &mut Fixture {
        self.event(Event::Exited(pid, status))
    }

    /// Lets time pass, with a tick at every deadline on the way.
    fn pass(&mut self, span: Duration) -> &mut Fixture {
        let end = self.now + span;
        while let Some(at) = self.machine.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.tick();
        }
        self.now = end;
        self
    }

    fn signals(&self) -> Vec<(Pid, Signal)> {
        let signals = self.done.iter().filter_map(|action| match action {
            Action::Signal(pid, signal) => Some((*pid, *signal)),
            Action::Kill(pid) => Some((*pid, Signal::KILL)),
            Action::Abort(pid) => Some((*pid, Signal::ABRT)),
            _ => None,
        });
        signals.collect()
    }

    fn spawned(&self) -> Vec<Generation> {
        let spawned = self.done.iter().filter_map(|action| match action {
            Action::Spawn(generation) => Some(*generation),
            _ => None,
        });
        spawned.collect()
    }

    fn reported(&self, wanted: impl Fn(&Report) -> bool) -> bool {
        self.done
            .iter()
            .any(|action| matches!(action, Action::Report(r) if wanted(r)))
    }

    fn exit_code(&self) -> Option<u8> {
        self.done.iter().find_map(|action| match action {
            Action::Exit(code) => Some(*code),
            _ => None,
        })
    }

    fn live(&self) -> Vec<(Generation, Pid)> {
        self.machine.live().collect()
    }
}
