//! Load on a server: clients that send requests while the test does something else.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use server_starter_testing::{Load, LoadState};

use super::{Connection, Fault};

/// The cause of slow requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slow {
    /// The server: `/slow` takes 0.3 s.
    Server,
    /// The client: it reads `/big` and stops for 0.3 s in the middle.
    Reader,
}

/// What the clients observed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    /// Of these, the slow ones.
    pub(crate) slow: usize,
    /// A kept connection was closed when it was used again. A client must repeat the request on a new connection then
    /// (RFC 9112, 9.3.1), as these do; only the repeated request is counted.
    pub(crate) stale: usize,
    /// A new connection was closed before the first byte of a response.
    pub(crate) unanswered: Vec<String>,
    /// Other failures.
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

/// Between two requests of one client, to leave time to the other processes.
const PAUSE: Duration = Duration::from_millis(2);
/// Between the connection and the request of a client on a slow line.
const LATE: Duration = Duration::from_millis(20);
/// The number of clients.
pub(crate) const CLIENTS: usize = 6;

/// [`CLIENTS`] send requests while `during` runs: two with a connection for each request, two that wait between
/// connection and request, one that keeps its connection, and one with slow requests. Returns what they observed.
#[track_caller]
pub(crate) fn under_load(port: u16, slow: Slow, during: impl FnOnce(&Load)) -> Outcome {
    let total = Arc::<Mutex<Outcome>>::default();
    let mut load = Load::new();
    let mut spawn = |client: fn(u16, Slow, &LoadState) -> Outcome| {
        let total = Arc::clone(&total);
        load.spawn(move |load| {
            let outcome = client(port, slow, load);
            total.lock().unwrap().add(outcome);
        });
    };
    let clients: [fn(u16, Slow, &LoadState) -> Outcome; CLIENTS] = [
        |port, _, load| ask(port, load, "/", Duration::ZERO, Duration::ZERO),
        |port, _, load| ask(port, load, "/", Duration::ZERO, Duration::ZERO),
        |port, _, load| ask(port, load, "/", LATE, Duration::ZERO),
        |port, _, load| ask(port, load, "/", LATE, Duration::ZERO),
        |port, _, load| ask_on_one_connection(port, load),
        |port, slow, load| match slow {
            Slow::Server => ask(port, load, "/slow", Duration::ZERO, Duration::ZERO),
            Slow::Reader => ask(
                port,
                load,
                "/big",
                Duration::ZERO,
                Duration::from_millis(300),
            ),
        },
    ];
    clients.into_iter().for_each(&mut spawn);
    during(&load);
    load.stop();
    std::mem::take(&mut *total.lock().unwrap())
}

fn ask(port: u16, load: &LoadState, path: &str, late: Duration, pause: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    while load.goes_on() {
        let result = Connection::open(port).and_then(|mut new| {
            thread::sleep(late);
            new.get(path, false, pause)
        });
        if outcome.count(result).is_some() {
            outcome.slow += usize::from(path != "/");
            load.count_answer();
            thread::sleep(PAUSE);
        }
    }
    outcome
}

fn ask_on_one_connection(port: u16, load: &LoadState) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept: Option<Connection> = None;
    while load.goes_on() {
        let connection = match kept.take() {
            Some(kept) => Ok(kept),
            None => Connection::open(port),
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
            load.count_answer();
            thread::sleep(PAUSE);
        }
    }
    outcome
}
