//! What must hold between two events, by what an observer knows (`world.rs`).

use super::seen::SeenWorker;
use super::world::World;
use crate::machine::*;

impl World {
    pub(super) fn check(&self, machine: &Machine) {
        self.workers_are_known(machine);
        self.times_are_kept(machine);
        if self.exit.is_some() {
            assert_eq!(machine.deadline(), None, "a deadline after the exit");
            return;
        }
        if self.stop_requested {
            self.stop_reaches_all_workers();
            return;
        }
        self.newest_ready_worker_is_left_alone();
        self.requests_will_be_answered(machine);
        self.notifications_are_heard(machine);
        self.service_goes_on(machine);
        let live: Vec<_> = machine.live().collect();
        let served = self.in_order(SeenWorker::has_served);
        assert_eq!(live, served, "the status file lists what served");
    }

    fn workers_are_known(&self, machine: &Machine) {
        let known: Vec<_> = machine.workers().map(|(g, pid, _)| (g, pid)).collect();
        let alive = self.in_order(|_| true);
        assert_eq!(known, alive, "the machine knows those that are alive");
    }

    /// The machine wakes up for each SIGKILL and for each ping that does not come.
    fn times_are_kept(&self, machine: &Machine) {
        let wakes_by = |at: Time| machine.deadline().is_some_and(|due| due <= at);
        for (pid, worker) in &self.workers {
            let kill = worker.kill_from.is_none_or(wakes_by);
            assert!(kill, "{pid}: no deadline for SIGKILL");
            let pings = worker.ready && !worker.signalled && !worker.adopted;
            let watchdog = machine.rules.worker_watchdog.filter(|_| pings);
            let ping = watchdog.is_none_or(|every| wakes_by(worker.pinged + every));
            assert!(ping, "{pid}: no deadline for the watchdog");
        }
    }

    fn stop_reaches_all_workers(&self) {
        assert!(!self.workers.is_empty(), "no worker is left, and no exit");
        let hurry = self.workers.values().any(|w| w.hurry);
        assert!(!hurry, "a second stop was not passed on");
        let all = self.workers.values().all(|w| w.signalled);
        assert!(all, "a worker was not told to stop");
    }

    /// The newest ready worker, and the one that is starting, are not told to leave.
    fn newest_ready_worker_is_left_alone(&self) {
        let Some(newest) = self.newest_ready.map(|pid| &self.workers[&pid]) else {
            return;
        };
        assert!(
            !newest.told_to_leave,
            "the newest ready worker has to leave"
        );
        for (pid, worker) in &self.workers {
            let is_newer = worker.generation > newest.generation;
            let was_told = worker.signalled && !worker.given_up;
            assert!(
                !(is_newer && was_told),
                "{pid}: signalled before it is ready"
            );
        }
    }

    fn requests_will_be_answered(&self, machine: &Machine) {
        for (id, request) in &self.requests {
            let mut replaced = request.replaced.into_iter();
            let draining = replaced.any(|by| self.served_before(by).next().is_some());
            let due = machine.deadline().is_some();
            assert!(draining || due, "request {id} waits for ever");
        }
    }

    /// READY=1 of a live worker has had its effect.
    fn notifications_are_heard(&self, machine: &Machine) {
        if machine.rules.readiness == Readiness::Alive {
            return;
        }
        for (pid, worker) in &self.workers {
            let heard = worker.ready || worker.signalled || !worker.said_ready;
            assert!(heard, "{pid}: READY=1 has had no effect");
        }
    }

    /// A worker serves, or will, unless the supervisor is giving up; and a reload is not forgotten.
    fn service_goes_on(&self, machine: &Machine) {
        let due = machine.deadline().is_some();
        let serving = self.newest_ready.is_some();
        let starting = self.workers.values().any(SeenWorker::is_starting);
        let giving_up = !self.workers.is_empty() && self.workers.values().all(|w| w.signalled);
        assert!(
            serving || starting || due || giving_up,
            "no worker serves or will"
        );
        let ending = self.stopping || (giving_up && !serving);
        if self.reload_unanswered && !ending {
            assert!(due, "a reload is forgotten");
        }
    }

    /// In the order of generations: a new worker may have the process id of an old one.
    fn in_order(&self, which: impl Fn(&SeenWorker) -> bool) -> Vec<(Generation, Pid)> {
        let workers = self.workers.iter().filter(|(_, w)| which(w));
        let mut workers: Vec<_> = workers.map(|(pid, w)| (w.generation, *pid)).collect();
        workers.sort_unstable();
        workers
    }
}
