//! A candidate at work: started, reloaded, stopped, each timed and its answers checked.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::process::{self, Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::answer::Answer;
use crate::candidate::{Candidate, Setup};
use crate::ports::Port;
use crate::proc;

/// The longest anything may take, besides an interval.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A supervisor that has slept for so long is at rest.
const REST: Duration = Duration::from_millis(25);

/// A supervisor and its current worker. Dropped before it was stopped, it is killed; its worker is left to [`crate::reaper`].
pub(crate) struct Running<'a> {
    candidate: &'a Candidate,
    child: Child,
    log: File,
    sockets: Vec<Port>,
    token: String,
}

/// The current worker, and a connection to it that ends when it does.
pub(crate) struct Current {
    pub(crate) answer: Answer,
    pub(crate) connection: TcpStream,
}

/// A candidate with a worker that has answered.
pub(crate) struct Serving<'a> {
    running: Running<'a>,
    current: Current,
}

/// How long a reload took, from HUP on.
pub(crate) struct Reload {
    /// The old worker's end.
    pub(crate) gone: Duration,
    /// The new worker's first answer.
    pub(crate) answered: Duration,
    /// The old worker's end, counted from the moment in which the new one said that it was ready; if it did.
    pub(crate) after_word: Option<Duration>,
}

impl<'a> Serving<'a> {
    /// Starts a candidate; also how long it took until its worker answered.
    pub(crate) fn start(
        candidate: &'a Candidate,
        setup: Setup,
    ) -> Result<(Self, Duration), String> {
        let (mut running, started) = Running::start(candidate, setup)?;
        let first = running.first_answer();
        let took = started.elapsed();

        let current = first.and_then(|current| running.check(&current.answer, 1).map(|()| current));
        let current = current.map_err(|reason| running.blame(&reason))?;
        Ok((Self { running, current }, took))
    }

    /// The supervisor's pid.
    pub(crate) fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Whether [`Serving::reload`] makes sense.
    pub(crate) fn reloads(&self) -> bool {
        self.running.candidate.reloads()
    }

    /// Waits until the supervisor is at rest.
    pub(crate) fn rest(&self) -> Result<(), String> {
        proc::wait_for_rest(self.pid(), REST).map_err(|reason| self.running.blame(&reason))
    }

    /// Sends HUP, sees the old worker go and the new one answer, and waits for rest.
    pub(crate) fn reload(&mut self) -> Result<Reload, String> {
        let times = self.reload_at_once()?;
        // The new worker's interval was over when the old one was told to go; only rest is left to wait for.
        self.rest()?;
        Ok(times)
    }

    /// The same without the rest.
    pub(crate) fn reload_at_once(&mut self) -> Result<Reload, String> {
        self.try_reload()
            .map_err(|reason| self.running.blame(&reason))
    }

    /// Has something else replace the worker, and takes note of the new one.
    pub(crate) fn replaced_by<T>(
        &mut self,
        replace: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let run = || {
            let result = replace()?;
            self.follow()?;
            Ok(result)
        };
        run().map_err(|reason: String| self.running.blame(&reason))
    }

    fn try_reload(&mut self) -> Result<Reload, String> {
        let started = Instant::now();
        signal(self.pid() as i32, Signal::SIGHUP)?;
        let gone_at = self.follow()?;
        let answered = started.elapsed();
        let gone = gone_at.duration_since(started);
        let said_at = Some(self.current.answer.ready_at).filter(|at| *at > 0);
        let now = proc::monotonic().saturating_sub(gone_at.elapsed().as_nanos() as u64);
        let after_word = said_at.map(|at| Duration::from_nanos(now.saturating_sub(at)));
        Ok(Reload {
            gone,
            answered,
            after_word,
        })
    }

    /// Sees the old worker go and the new one answer; when the old one had gone.
    fn follow(&mut self) -> Result<Instant, String> {
        wait_for_end(&mut self.current.connection)
            .map_err(|error| format!("old worker after the reload: {error}"))?;
        let gone_at = Instant::now();
        let current = self.running.connect()?;
        self.running
            .check(&current.answer, self.current.answer.generation + 1)?;
        if current.answer.pid == self.current.answer.pid {
            return Err(format!(
                "worker {} answers for two generations",
                current.answer.pid
            ));
        }
        self.current = current;
        Ok(gone_at)
    }

    /// Sends TERM, and sees to it that supervisor and worker are gone and the status is 0.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.try_stop()
            .map_err(|reason| self.running.blame(&reason))
    }

    fn try_stop(&mut self) -> Result<(), String> {
        // The floor handles no signals: it leaves when its worker does.
        let told = if self.reloads() {
            self.pid() as i32
        } else {
            self.current.answer.pid
        };
        signal(told, Signal::SIGTERM)?;
        let status = self.running.wait()?;
        if !status.success() {
            return Err(format!("stopped by TERM: {status}"));
        }
        wait_for_end(&mut self.current.connection)
            .map_err(|error| format!("worker after the supervisor's end: {error}"))
    }
}

impl<'a> Running<'a> {
    /// Starts a candidate; also when that began.
    pub(crate) fn start(candidate: &'a Candidate, setup: Setup) -> Result<(Self, Instant), String> {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}.{start}", process::id());
        let wrong = |error| format!("log: {error}");
        let log = tempfile::tempfile().map_err(wrong)?;
        let output = || log.try_clone().map(Stdio::from).map_err(wrong);
        let (child, started) = candidate.spawn(&setup, &token, [output()?, output()?])?;
        let running = Self {
            candidate,
            child,
            log,
            sockets: setup.sockets,
            token,
        };
        Ok((running, started))
    }

    /// The supervisor's pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its workers have been told to call themselves.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Connects in a tight loop until let in, and reads the answer.
    pub(crate) fn first_answer(&mut self) -> Result<Current, String> {
        let started = Instant::now();
        let mut refused = 0_u32;
        loop {
            match TcpStream::connect(self.sockets[0].address) {
                Ok(connection) => return self.answer(connection),
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => {
                    return Err(format!("connect: {error}"));
                }
                Err(_) => refused = refused.wrapping_add(1),
            }
            // Now and then, so as not to slow the loop down.
            if refused % 256 == 0 {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(format!("ended at its start: {status}"));
                }
                if started.elapsed() > PATIENCE {
                    return Err(format!(
                        "does not listen on {} after {PATIENCE:?}",
                        self.sockets[0].address
                    ));
                }
            }
        }
    }

    /// A new connection, and who answers on it.
    pub(crate) fn connect(&self) -> Result<Current, String> {
        let connection = TcpStream::connect(self.sockets[0].address)
            .map_err(|error| format!("connect after the reload: {error}"))?;
        self.answer(connection)
    }

    fn answer(&self, connection: TcpStream) -> Result<Current, String> {
        let wrong = |error| format!("answer: {error}");
        connection.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
        let mut line = String::new();
        BufReader::new(&connection)
            .read_line(&mut line)
            .map_err(wrong)?;
        let answer = Answer::parse(line.trim_end_matches('\n'))?;
        Ok(Current { answer, connection })
    }

    /// Whether that is what this start's worker of this generation had to say, and all sockets are there.
    fn check(&self, answer: &Answer, generation: u32) -> Result<(), String> {
        let expected = Answer {
            token: self.token.clone(),
            generation,
            pid: answer.pid,
            sockets: self.sockets.len(),
            key: self.sockets[0].spec.clone(),
            ready_at: answer.ready_at,
        };
        if answer.to_string() != expected.to_string() {
            return Err(format!(
                "wrong answer (token, generation, pid, sockets, key): {answer}; expected: {expected}"
            ));
        }
        let last = self.sockets[self.sockets.len() - 1].address;
        TcpStream::connect(last).map_err(|error| format!("last socket, {last}: {error}"))?;
        Ok(())
    }

    /// Waits for the supervisor's end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, String> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self
                .child
                .try_wait()
                .map_err(|error| format!("wait: {error}"))?
            {
                return Ok(status);
            }
            sleep(Duration::from_micros(200));
        }
        Err(format!("still there {PATIENCE:?} after TERM"))
    }

    /// The reason, with the candidate's name before it and the last of what it printed behind.
    pub(crate) fn blame(&self, reason: &str) -> String {
        let mut bytes = vec![0; 4096];
        let length = self.log.metadata().map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(bytes.len() as u64);
        let read = self.log.read_at(&mut bytes, start).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let lines: Vec<_> = text.lines().rev().take(10).collect();
        let tail: String = lines
            .iter()
            .rev()
            .map(|line| format!("\n    {line}"))
            .collect();
        format!(
            "{}, {} port(s): {reason}\n  it printed:{tail}",
            self.candidate.label,
            self.sockets.len()
        )
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Does nothing to a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(pid), signal).map_err(|error| format!("sending {signal} to {pid}: {error}"))
}

/// Waits until the worker at the other end is gone.
fn wait_for_end(connection: &mut TcpStream) -> Result<(), String> {
    match connection.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("answers twice".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(format!("still there after {PATIENCE:?}"))
        }
        Err(error) => Err(error.to_string()),
    }
}
