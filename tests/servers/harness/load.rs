//! Clients that keep asking while something else happens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Connection, Fault, eventually};

/// What takes long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slow {
    /// `/slow`: the server, for 0.3 s.
    Server,
    /// `/big`: a client that reads a big file and stops for 0.3 s in the middle.
    Reader,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    /// Of these, the ones that took long.
    pub(crate) slow: usize,
    /// A connection kept alive was found closed when it was to be used again. Any client has to cope with that by asking
    /// again on a new one (RFC 9112, 9.3.1); so did ours, and what came of it counts.
    pub(crate) stale: usize,
    /// A new connection was closed before the first byte of an answer.
    pub(crate) unanswered: Vec<String>,
    /// Anything else.
    pub(crate) broken: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            answered,
            slow,
            stale,
            unanswered,
            broken,
        } = self;
        write!(
            f,
            "{answered} answered ({slow} slow), {} failed: {} unanswered {unanswered:?}, {} broken {broken:?}; \
             {stale} kept alive found closed",
            unanswered.len() + broken.len(),
            unanswered.len(),
            broken.len(),
        )
    }
}

impl Outcome {
    fn count(&mut self, result: Result<bool, Fault>) -> Option<bool> {
        match result {
            Ok(again) => {
                self.answered += 1;
                return Some(again);
            }
            Err(Fault::Unanswered(why)) => self.unanswered.push(why),
            Err(Fault::Broken(why)) => self.broken.push(why),
        }
        None
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.slow += other.slow;
        self.stale += other.stale;
        self.unanswered.extend(other.unanswered);
        self.broken.extend(other.broken);
    }
}

/// The load while it lasts.
pub(crate) struct Load {
    port: u16,
    over: AtomicBool,
    answers: AtomicUsize,
    began: Instant,
}

/// No load lasts longer, whatever happens.
const LONGEST: Duration = Duration::from_secs(240);
/// Nor has one client more requests.
const MOST: usize = 100_000;
/// Between two requests of one client: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(2);
/// Between connecting and asking, for those on a slow line.
const LATE: Duration = Duration::from_millis(20);
/// How many clients a load has.
pub(crate) const CLIENTS: usize = 6;

impl Load {
    /// [`CLIENTS`] ask while `during` runs: two with a connection for each request, two that take their time between
    /// connecting and asking, one that keeps its connection, and one whose requests take long. What they saw.
    #[track_caller]
    pub(crate) fn on(port: u16, slow: Slow, during: impl FnOnce(&Self)) -> Outcome {
        let load = Self {
            port,
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            began: Instant::now(),
        };
        thread::scope(|scope| {
            let load = &load;
            let at_once = Duration::ZERO;
            let mut clients = Vec::new();
            for late in [at_once, at_once, LATE, LATE] {
                clients.push(scope.spawn(move || load.ask("/", late, at_once)));
            }
            clients.push(scope.spawn(|| load.ask_on_one_connection()));
            clients.push(scope.spawn(move || match slow {
                Slow::Server => load.ask("/slow", at_once, at_once),
                Slow::Reader => load.ask("/big", at_once, Duration::from_millis(300)),
            }));
            assert_eq!(clients.len(), CLIENTS);
            let end = EndOfLoad(load);
            during(load);
            assert!(load.goes_on(0), "the load did not last");
            drop(end);
            let mut total = Outcome::default();
            for client in clients {
                total.add(client.join().unwrap());
            }
            total
        })
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    pub(crate) fn wait_answers(&self, more: usize) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually(&format!("{more} more answers"), || {
            (self.answers.load(Ordering::Relaxed) >= before + more).then_some(())
        });
    }

    fn goes_on(&self, asked: usize) -> bool {
        !self.over.load(Ordering::Relaxed) && self.began.elapsed() < LONGEST && asked < MOST
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }

    fn ask(&self, path: &str, late: Duration, pause: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let mut asked = 0;
        while self.goes_on(asked) {
            asked += 1;
            let result = Connection::open(self.port).and_then(|mut new| {
                thread::sleep(late);
                new.get(path, false, pause)
            });
            if outcome.count(result).is_some() {
                outcome.slow += usize::from(path != "/");
                self.answered();
            }
        }
        outcome
    }

    fn ask_on_one_connection(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut kept: Option<Connection> = None;
        let mut asked = 0;
        while self.goes_on(asked) {
            asked += 1;
            let connection = match kept.take() {
                Some(kept) => Ok(kept),
                None => Connection::open(self.port),
            };
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(fault) => {
                    outcome.count(Err(fault));
                    continue;
                }
            };
            let result = connection.get("/", true, Duration::ZERO);
            if connection.used > 0 && matches!(result, Err(Fault::Unanswered(_))) {
                outcome.stale += 1;
                continue;
            }
            if let Some(again) = outcome.count(result) {
                kept = again.then_some(connection);
                self.answered();
            }
        }
        outcome
    }
}

/// The clients stop even when the test panics: the scope waits for them.
struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
