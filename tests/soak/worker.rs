//! The worker, which is this program. The seed determines the behaviour of each generation: most serve well, some are
//! slow, fail, hang, die, or do not exit.
//!
//! A killed worker loses the requests that it has accepted. So that each failed request is the supervisor's fault, only
//! workers without requests are killed. Such a worker has the name [`EMPTY`]: it accepts no more and has answered all
//! requests, or never accepted any. A worker that serves is parked before it is killed: at SIGUSR1 it answers its
//! requests and stops itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal as Number, raise};
use server_starter_testing::WorkerSockets;
use server_starter_worker::{Signal, Stop, generation, notify};

use crate::random::Random;

/// The name, as ps(1) shows it, of a worker that has no requests and accepts none.
pub(crate) const EMPTY: &str = "soak-empty";

/// How a generation behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Is ready after this time.
    Slow(Duration),
    /// Exits after this time without being ready.
    Fails(Duration),
    /// Is killed by a signal before it is ready.
    Crashes,
    /// Is never ready. Ignores TERM if `stubborn`.
    Hangs {
        stubborn: bool,
    },
    /// Exits this time after it was ready.
    Dies(Duration),
    /// Stops to serve and to ping this time after it was ready.
    Stuck(Duration),
    /// Exits this time after TERM.
    Lingers(Duration),
    /// Does not exit at TERM.
    Stays,
}

impl Behaviour {
    pub(crate) fn of(seed: u64, generation: u64) -> Behaviour {
        let mut random = Random::new(seed, generation << 32);
        let (kind, time) = (random.below(100), random.below(1000));
        let millis = Duration::from_millis;
        match kind {
            _ if generation == 1 => Behaviour::Good,
            0..60 => Behaviour::Good,
            60..70 => Behaviour::Slow(millis(time / 2)),
            70..76 => Behaviour::Fails(millis(time / 10)),
            76..79 => Behaviour::Crashes,
            79..81 => Behaviour::Hangs { stubborn: false },
            81..83 => Behaviour::Hangs { stubborn: true },
            83..88 => Behaviour::Dies(millis(time * 2)),
            88..89 => Behaviour::Stuck(millis(time)),
            89..97 => Behaviour::Lingers(millis(time)),
            _ => Behaviour::Stays,
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn run() -> Result<ExitCode> {
    let stop = Stop::on(&[Signal::Term, Signal::Int, Signal::Usr1])?;
    let number = generation().unwrap_or(0);
    let seed = std::env::var("SOAK_SEED").ok();
    let behaviour = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => Behaviour::of(seed, number),
        None => Behaviour::Good,
    };
    match behaviour {
        Behaviour::Slow(time) => thread::sleep(time),
        Behaviour::Fails(time) => {
            rename(EMPTY)?;
            thread::sleep(time);
            return Ok(ExitCode::FAILURE);
        }
        Behaviour::Crashes => raise(Number::SIGSEGV)?,
        Behaviour::Hangs { stubborn } => {
            rename(EMPTY)?;
            leave(stop, stubborn)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    rename("soak-serves")?;
    let life = match behaviour {
        Behaviour::Dies(time) | Behaviour::Stuck(time) => Some(time),
        _ => None,
    };
    let serving = Serving::new(number)?;
    notify::ready()?;
    serving.until(stop, life)?;
    rename(EMPTY)?;
    match behaviour {
        Behaviour::Dies(_) if !stop.requested() => return Ok(ExitCode::FAILURE),
        Behaviour::Stuck(_) => leave(stop, false)?,
        Behaviour::Lingers(time) => thread::sleep(time),
        _ => {}
    }
    leave(stop, behaviour == Behaviour::Stays)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the signal to stop. A parked worker stops itself, and is killed then.
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

/// Between two pings of the watchdog.
const PING: Duration = Duration::from_millis(500);

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(60);

struct Serving {
    sockets: WorkerSockets,
    /// The part of each answer after the number of the request.
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

    /// Serves until the signal to stop, or for the time `life`; then answers the requests that were accepted.
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
                let _ = answer(client, &about); // the client may have closed the connection
            }));
        }
    }
}

/// Answers the request `NUMBER MILLISECONDS`, after that time, with `NUMBER GENERATION PID COLOUR`.
fn answer(mut client: UnixStream, about: &str) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line)?;
    let (number, time) = line.trim_end().split_once(' ').ok_or("no request")?;
    thread::sleep(Duration::from_millis(time.parse()?));
    client.write_all(format!("{number} {about}\n").as_bytes())?;
    Ok(())
}
