//! Clients that ask all the time. Each request must be answered.

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::BOUND;
use crate::life::Shared;
use crate::random::Random;

/// How many there are.
pub(crate) const CLIENTS: u64 = 4;

/// What was seen by the clients together.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    /// How many left without an answer; they did not want one.
    pub(crate) left: u64,
    /// How many took less than 2^n ms, beyond what they had asked for.
    pub(crate) times: [u64; 20],
    pub(crate) longest: Duration,
}

/// Who has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) generation: u64,
    pub(crate) pid: i32,
    pub(crate) colour: String,
}

/// Asks until it is over.
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
        thread::sleep(random.millis(6)); // the machine is not ours alone
    }
}

trait Stream: Read + Write + Debug {}
impl<T: Read + Write + Debug> Stream for T {}

fn connect(shared: &Shared, unix: bool) -> io::Result<Box<dyn Stream>> {
    Ok(if unix {
        let stream = UnixStream::connect(&shared.socket)?;
        stream.set_read_timeout(Some(BOUND))?;
        Box::new(stream)
    } else {
        let stream = TcpStream::connect(("127.0.0.1", shared.port))?;
        stream.set_read_timeout(Some(BOUND))?;
        Box::new(stream)
    })
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
