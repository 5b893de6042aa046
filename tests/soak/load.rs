//! Clients that send requests all the time. Each request must be answered.

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use server_starter_testing::{connect_tcp, connect_unix};

use crate::BOUND;
use crate::random::Random;
use crate::run::Shared;

/// The number of clients.
pub(crate) const CLIENTS: u64 = 4;

/// What all clients together have observed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    /// How many clients closed their connection on purpose, without a request.
    pub(crate) left: u64,
    /// How many answers took less than 2^n ms, in addition to the delay in the request.
    pub(crate) times: [u64; 20],
    pub(crate) longest: Duration,
}

/// The worker that has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) generation: u64,
    pub(crate) pid: i32,
    pub(crate) colour: String,
}

/// Sends requests until the run is over.
pub(crate) fn ask_on(shared: &Shared, number: u64, seed: u64) {
    let mut random = Random::new(seed, u64::MAX - number);
    let mut count = 0;
    while !shared.over.load(Ordering::Relaxed) {
        count += 1;
        let id = number + count * CLIENTS;
        let unix = random.percent(50);
        if random.percent(2) {
            drop(connect(shared, unix));
            shared.seen.lock().unwrap().left += 1;
            continue;
        }
        let wanted = match random.percent(5) {
            true => random.millis(150),
            false => Duration::ZERO,
        };
        let start = Instant::now();
        match ask(shared, unix, id, wanted) {
            Ok(_) => {
                let took = start.elapsed().saturating_sub(wanted);
                let mut seen = shared.seen.lock().unwrap();
                seen.answered += 1;
                seen.longest = seen.longest.max(took);
                let size = 64 - (took.as_millis() as u64).leading_zeros() as usize;
                let size = size.min(seen.times.len() - 1);
                seen.times[size] += 1;
            }
            Err(e) => shared.fail(&format!(
                "request {id} ({}) has failed after {:?}: {e}",
                if unix { "unix" } else { "tcp" },
                start.elapsed()
            )),
        }
        thread::sleep(random.millis(6)); // leaves time to the other processes
    }
}

trait Stream: Read + Write + Debug {}
impl<T: Read + Write + Debug> Stream for T {}

fn connect(shared: &Shared, unix: bool) -> io::Result<Box<dyn Stream>> {
    if unix {
        return Ok(Box::new(connect_unix(&shared.socket)?));
    }
    let stream = connect_tcp(shared.port, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    Ok(Box::new(stream))
}

pub(crate) fn ask(shared: &Shared, unix: bool, id: u64, wanted: Duration) -> io::Result<Answer> {
    let mut stream = connect(shared, unix)?;
    stream.write_all(format!("{id} {}\n", wanted.as_millis()).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer = || -> Option<Answer> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        (words.next()?.parse() == Ok(id)).then_some(())?;
        Some(Answer {
            generation: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            colour: words.next()?.to_owned(),
        })
    };
    answer().ok_or_else(|| io::Error::other(format!("the answer was {line:?}")))
}
