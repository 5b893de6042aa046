//! What is tested of every server.

use nix::sys::signal::Signal;
use server_starter_testing::{eventually, expect, say};

use super::load::{CLIENTS, under_load};
use super::run::{answers, bound, run_alone, start, wait_generation};
use super::{Outcome, Recipe, ServerDir, Slow, skipped};

/// A server and what can be asked of it.
pub(crate) struct Server {
    /// Its section in docs/recipes.md.
    pub(crate) name: &'static str,
    /// A shell condition: whether all it needs is installed.
    pub(crate) needs: &'static str,
    pub(crate) slow: Slow,
    /// Whether its own drain closes connections that have not asked yet.
    pub(crate) loses: bool,
    /// A file, and a version of it that does not start.
    pub(crate) broken: (&'static str, &'static str),
}

/// How many reloads, or drains, there are.
const TIMES: u32 = 5;
/// How many requests are answered before each.
const BETWEEN: u64 = 50;

impl Server {
    /// Its recipe; `None`, loudly, when it is not installed.
    #[track_caller]
    pub(crate) fn recipe(&self) -> Option<Recipe> {
        let recipe = Recipe::of(self.name);
        let dir = ServerDir::of(&Recipe::default());
        if dir.run("needs", self.needs, None).wait().success() {
            return Some(recipe);
        }
        skipped(self.name, &format!("not here: {}", self.needs));
        None
    }

    /// Reloads it again and again under load. No request fails but those that its own drain would have cost.
    #[track_caller]
    pub(crate) fn reloads_lose_nothing_of_ours(&self) {
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

    /// The same server on a socket of the test's, with no supervisor: under the same load its own signal, and another one
    /// when it has left; new connections wait in the queue meanwhile. What fails is what its own drain costs; it is shown
    /// for the comparison. That a server which `loses` really does is shown by [`Server::drained_alone`], without luck.
    #[track_caller]
    pub(crate) fn its_own_drain_costs_as_much(&self) {
        let Some(recipe) = self.recipe() else { return };
        let (dir, listener) = bound(&recipe);
        let mut server = run_alone(&recipe, &dir, &listener, 1);
        expect("an answer", || answers(dir.port).then_some(()));
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

    /// What may have failed: for a server that closes connections that have not asked yet, at most those that each client
    /// had at each drain, and nothing else.
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

    /// A version that does not start changes nothing; the next one that does takes over.
    #[track_caller]
    pub(crate) fn a_broken_version_changes_nothing(&self) {
        let Some(recipe) = self.recipe() else { return };
        let (dir, mut supervisor) = start(&recipe);
        let first = dir.read("status");
        let (file, broken) = self.broken;
        let good = std::fs::read(dir.path(file)).unwrap();
        dir.replace(file, broken.as_bytes());
        supervisor.signal(Signal::SIGHUP);
        let outcome = under_load(dir.port, self.slow, |_| {
            // twice, so that one attempt is over while the load lasts
            expect("two attempts fail", || {
                let log = supervisor.stderr();
                (log.matches("seems to have failed to start").count() >= 2).then_some(())
            });
        });
        assert!(
            outcome.unanswered.is_empty() && outcome.broken.is_empty(),
            "{outcome}"
        );
        assert_eq!(dir.read("status"), first, "somebody took over");
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

/// The tests that every server has.
macro_rules! tests_of {
    ($server:expr) => {
        #[test]
        fn reloads_lose_nothing_of_ours() {
            $server.reloads_lose_nothing_of_ours();
        }

        #[test]
        fn its_own_drain_costs_as_much() {
            $server.its_own_drain_costs_as_much();
        }

        #[test]
        fn a_broken_version_changes_nothing() {
            $server.a_broken_version_changes_nothing();
        }
    };
}
pub(crate) use tests_of;
