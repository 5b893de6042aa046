//! The tests of each server.

use nix::sys::signal::Signal;
use server_starter_testing::{eventually, expect, say};

use super::load::{CLIENTS, under_load};
use super::run::{answers, bound, run_alone, start, wait_generation};
use super::{Outcome, Recipe, ServerDir, Slow, skipped};

/// A server and its properties.
pub(crate) struct Server {
    /// Its section in docs/recipes.md.
    pub(crate) name: &'static str,
    /// A shell condition that holds if the server is installed.
    pub(crate) needs: &'static str,
    pub(crate) slow: Slow,
    /// Whether its drain closes connections without a request.
    pub(crate) loses: bool,
    /// A file, and a version of it with which the server does not start.
    pub(crate) broken: (&'static str, &'static str),
}

/// The number of reloads, or of drains.
const TIMES: u32 = 5;
/// The number of requests that are answered before each.
const BETWEEN: u64 = 50;

impl Server {
    /// Its recipe; `None` if the server is not installed, which is reported.
    #[track_caller]
    pub(crate) fn recipe(&self) -> Option<Recipe> {
        let recipe = Recipe::of(self.name);
        let dir = ServerDir::of(&Recipe::default());
        if dir.run("needs", self.needs, None).wait().success() {
            return Some(recipe);
        }
        skipped(self.name, &format!("this fails: {}", self.needs));
        None
    }

    /// Reloads under load. No request fails except those that the server's own drain would have lost.
    #[track_caller]
    pub(crate) fn reloads_lose_no_more_than_the_drain(&self) {
        let Some(recipe) = self.recipe() else { return };
        let (dir, mut supervisor) = start(&recipe);
        let outcome = under_load(dir.port, self.slow, |load| {
            for generation in 2..2 + TIMES {
                load.wait_answers(BETWEEN);
                supervisor.signal(Signal::SIGHUP);
                wait_generation(&dir, &mut supervisor, generation);
            }
            load.wait_answers(BETWEEN);
        });
        say(&format!("{}, {TIMES} reloads: {outcome}", self.name));
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit().code(), Some(0));
        eventually("no process is left", || dir.processes().is_empty());
        for line in supervisor.stderr().lines() {
            let failed = line.contains("died unexpectedly") || line.contains("failed to start");
            assert!(!failed, "{line}");
        }
        self.judge(&outcome, TIMES);
    }

    /// The same server and the same load without a supervisor: the server is drained by its signal, and another one
    /// started when it has ended; new connections wait in the queue. The failures are those of the drain, and are
    /// shown for comparison. [`Server::drained_alone`] shows deterministically that a server `loses` connections.
    #[track_caller]
    pub(crate) fn drain_without_a_supervisor_loses_as_much(&self) {
        let Some(recipe) = self.recipe() else { return };
        let (dir, listener) = bound(&recipe);
        let mut server = run_alone(&recipe, &dir, &listener, 1);
        expect("the server answers", || answers(dir.port).then_some(()));
        let outcome = under_load(dir.port, self.slow, |load| {
            for generation in 2..2 + TIMES {
                load.wait_answers(BETWEEN);
                server.signal(recipe.signal());
                server.wait_exit();
                server = run_alone(&recipe, &dir, &listener, generation);
            }
            load.wait_answers(BETWEEN);
        });
        say(&format!("{}, {TIMES} drains alone: {outcome}", self.name));
        server.signal(recipe.signal());
        server.wait_exit();
        self.judge(&outcome, TIMES);
    }

    /// At most one request per client and drain may fail, and only if the server closes connections without a request.
    #[track_caller]
    fn judge(&self, outcome: &Outcome, drains: u32) {
        assert!(outcome.slow > 0, "{outcome}");
        assert!(outcome.broken.is_empty(), "{outcome}");
        let most = if self.loses {
            CLIENTS * drains as usize
        } else {
            0
        };
        assert!(outcome.unanswered.len() <= most, "{outcome}");
    }

    /// A version that does not start has no effect; the next good one takes over.
    #[track_caller]
    pub(crate) fn broken_version_has_no_effect(&self) {
        let Some(recipe) = self.recipe() else { return };
        let (dir, mut supervisor) = start(&recipe);
        let first = dir.read("status");
        let (file, broken) = self.broken;
        let good = std::fs::read(dir.path(file)).unwrap();
        dir.replace(file, broken.as_bytes());
        supervisor.signal(Signal::SIGHUP);
        let outcome = under_load(dir.port, self.slow, |_| {
            // two, so that one attempt ends while the load lasts
            expect("two attempts fail", || {
                let log = supervisor.stderr();
                (log.matches("seems to have failed to start").count() >= 2).then_some(())
            });
        });
        assert!(
            outcome.unanswered.is_empty() && outcome.broken.is_empty(),
            "{outcome}"
        );
        assert_eq!(dir.read("status"), first, "another generation took over");
        dir.replace(file, &good);
        expect("a good version takes over", || {
            let status = dir.read("status");
            (!status.contains(&first) && status.lines().count() == 1).then_some(())
        });
        assert!(answers(dir.port));
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit().code(), Some(0));
    }
}

/// Declares the tests of a server.
macro_rules! tests_of {
    ($server:expr) => {
        #[test]
        fn reloads_lose_no_more_than_the_drain() {
            $server.reloads_lose_no_more_than_the_drain();
        }

        #[test]
        fn drain_without_a_supervisor_loses_as_much() {
            $server.drain_without_a_supervisor_loses_as_much();
        }

        #[test]
        fn broken_version_has_no_effect() {
            $server.broken_version_has_no_effect();
        }
    };
}
pub(crate) use tests_of;
