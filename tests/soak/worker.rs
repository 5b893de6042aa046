//! The worker: this very program. What kind of worker a generation is, the seed decides: most are well
//! behaved, some are late, fail, hang, die, or do not leave.
//!
//! A worker that is killed takes with it what it has accepted. So that no failed request can be
//! explained away by that, a worker shows when there is nothing to lose: its name is [`EMPTY`] as soon
//! as it accepts no more and has answered everybody, or if it never accepts at all. One that is to be
//! killed while it serves is parked first (SIGUSR1): it empties itself and stops.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal as Number, raise};
use server_starter_testing::WorkerSockets;
use server_starter_worker::{Signal, Stop, generation, notify};

use crate::random::Random;

/// The name, as ps(1) shows it, of a worker that has no request and will never have one.
pub(crate) const EMPTY: &str = "soak-empty";

/// How a generation behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Character {
    Good,
    /// Takes so long to be ready.
    Slow(Duration),
    /// Exits before it is ready, after so long.
    Fails(Duration),
    /// Is killed by a signal before it is ready.
    Crashes,
    /// Is never ready; and does not leave when told to.
    Hangs {
        stubborn: bool,
    },
    /// Ends by itself so long after it was ready.
    Dies(Duration),
    /// Stops to work, and to say that it lives, so long after it was ready.
    Stuck(Duration),
    /// When told to leave, takes so long.
    Lingers(Duration),
    /// Does not leave when told to.
    Stays,
}

impl Character {
    pub(crate) fn of(seed: u64, generation: u64) -> Character {
        let mut random = Random::new(seed, generation << 32);
        let (kind, time) = (random.below(100), random.below(1000));
        let millis = Duration::from_millis;
        match kind {
            _ if generation == 1 => Character::Good,
            0..60 => Character::Good,
            60..70 => Character::Slow(millis(time / 2)),
            70..76 => Character::Fails(millis(time / 10)),
            76..79 => Character::Crashes,
            79..81 => Character::Hangs { stubborn: false },
            81..83 => Character::Hangs { stubborn: true },
            83..88 => Character::Dies(millis(time * 2)),
            88..89 => Character::Stuck(millis(time)),
            89..97 => Character::Lingers(millis(time)),
            _ => Character::Stays,
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn run() -> Result<ExitCode> {
    let stop = Stop::on(&[Signal::Term, Signal::Int, Signal::Usr1])?;
    let number = generation().unwrap_or(0);
    let seed = std::env::var("SOAK_SEED").ok();
    let character = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => Character::of(seed, number),
        None => Character::Good,
    };
    match character {
        Character::Slow(time) => thread::sleep(time),
        Character::Fails(time) => {
            rename(EMPTY)?;
            thread::sleep(time);
            return Ok(ExitCode::FAILURE);
        }
        Character::Crashes => raise(Number::SIGSEGV)?,
        Character::Hangs { stubborn } => {
            rename(EMPTY)?;
            leave(stop, stubborn)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    rename("soak-serves")?;
    let life = match character {
        Character::Dies(time) | Character::Stuck(time) => Some(time),
        _ => None,
    };
    let serving = Serving::new(number)?;
    notify::ready()?;
    serving.until(stop, life)?;
    rename(EMPTY)?;
    match character {
        Character::Dies(_) if !stop.requested() => return Ok(ExitCode::FAILURE),
        Character::Stuck(_) => leave(stop, false)?,
        Character::Lingers(time) => thread::sleep(time),
        _ => {}
    }
    leave(stop, character == Character::Stays)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits to be told to leave. Whoever is parked stops there and then, and is killed.
fn leave(stop: Stop, stubborn: bool) -> Result<()> {
    stop.wait();
    if stop.signal() == Some(Signal::Usr1) {
        raise(Number::SIGSTOP)?;
    }
    if stubborn {
        loop {
            thread::park();
        }
    }
    Ok(())
}

/// Gives this process a name of at most 15 bytes.
fn rename(name: &str) -> std::io::Result<()> {
    std::fs::write("/proc/self/comm", name)
}

/// Between two signs of life.
const PING: Duration = Duration::from_millis(500);

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

struct Serving {
    sockets: WorkerSockets,
    /// What each answer says after the request's own number.
    about: String,
    requests: Vec<JoinHandle<()>>,
}

impl Serving {
    fn new(generation: u64) -> Result<Serving> {
        let colour = std::env::var("COLOUR").unwrap_or_else(|_| "none".to_owned());
        Ok(Serving {
            sockets: WorkerSockets::take()?,
            about: format!("{generation} {} {colour}", std::process::id()),
            requests: Vec::new(),
        })
    }

    /// Serves until told to leave, or until `life` is over; then it answers whom it has accepted.
    fn until(mut self, stop: Stop, life: Option<Duration>) -> Result<()> {
        let end = life.map(|life| Instant::now() + life);
        let mut ping = Instant::now();
        while !stop.requested() && end.is_none_or(|end| Instant::now() < end) {
            if Instant::now() >= ping {
                notify::watchdog()?;
                ping = Instant::now() + PING;
            }
            let next = end.map_or(ping, |end| end.min(ping));
            let left = next.saturating_duration_since(Instant::now());
            self.sockets.wait(stop, Some(left));
            self.accept();
        }
        drop(self.sockets);
        self.requests
            .into_iter()
            .for_each(|request| drop(request.join()));
        Ok(())
    }

    fn accept(&mut self) {
        self.requests.retain(|request| !request.is_finished());
        for client in self.sockets.accept() {
            let about = self.about.clone();
            self.requests.push(thread::spawn(move || {
                let _ = answer(client, &about); // it may have gone
            }));
        }
    }
}

/// `NUMBER MILLISECONDS` is answered so much later by `NUMBER GENERATION PID COLOUR`.
fn answer(mut client: UnixStream, about: &str) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line)?;
    let (number, time) = line.trim_end().split_once(' ').ok_or("no request")?;
    thread::sleep(Duration::from_millis(time.parse()?));
    client.write_all(format!("{number} {about}\n").as_bytes())?;
    Ok(())
}
