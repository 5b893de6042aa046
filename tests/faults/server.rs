//! A supervisor under strace, and what can be seen of it from outside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::Fault;
use crate::lives::Life;
use crate::place::Place;
use crate::trace::Trace;

/// Far above what anything takes that is not broken; five seconds are waited for an exec, and ten for
/// a worker that does not leave.
pub(crate) const BOUND: Duration = Duration::from_secs(25);

/// From one look to the next.
const TICK: Duration = Duration::from_millis(5);

/// Who has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) generation: u64,
    pub(crate) pid: i32,
}

/// A supervisor; killed with all that is its when this is dropped.
pub(crate) struct Server {
    pub(crate) place: Place,
    child: Child,
    pub(crate) exited: Option<ExitStatus>,
    /// It has answered.
    pub(crate) served: bool,
    /// A worker that runs may be killed: its supervisor waits in vain for the end of the pipe that
    /// would tell so, because that was not closed.
    may_kill: bool,
    /// What systemd would take it to be: it has said READY, and not RELOADING since.
    pub(crate) said_ready: bool,
}

impl Server {
    pub(crate) fn start(life: &Life, fault: Option<&Fault>) -> Server {
        let place = Place::new(life.leftovers);
        let binary = env!("CARGO_BIN_EXE_start_server");
        let me = std::env::current_exe().unwrap();
        let output = |name: &str| File::create(place.path(name)).unwrap();
        let mut command = Command::new("strace");
        // Strings in full: what differs from run to run in them is replaced later.
        command.args(["-D", "-y", "-ttt", "-s", "512", "-o"]);
        command.arg(place.path("trace"));
        if let Some(fault) = fault {
            let (name, errno, when) = (&fault.name, fault.errno, fault.when());
            command.args(["-e", &format!("inject={name}:error={errno}:when={when}")]);
        }
        command.arg(binary);
        let options = life.options.iter();
        command.args(options.map(|option| option.replace("DIR", place.text())));
        command.arg("--").arg(me).arg("worker");
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs([("LC_ALL", "C"), ("PLACE", place.text())]);
        command.env("TMPDIR", place.path("tmp"));
        let environment = life.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value.replace("DIR", place.text()))));
        command.current_dir(place.text());
        match life.inherits {
            true => command.stdin(
                std::net::TcpListener::bind("127.0.0.1:0")
                    .map(to_stdio)
                    .unwrap(),
            ),
            false => command.stdin(Stdio::null()),
        };
        command.stdout(output("stdout")).stderr(output("stderr"));
        let child = command.spawn().unwrap();
        Server {
            place,
            child,
            exited: None,
            served: false,
            may_kill: fault.is_some_and(|fault| fault.name == "close"),
            said_ready: false,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().unwrap();
        }
        self.exited.is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.exited.is_none() {
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// Looks until `found` has something to show; none: not within `bound`. An error ends it, and so
    /// does the end of the supervisor.
    pub(crate) fn look<T>(
        &mut self,
        bound: Duration,
        mut found: impl FnMut(&mut Server) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, String> {
        let start = Instant::now();
        loop {
            if let Some(thing) = found(self)? {
                return Ok(Some(thing));
            }
            if self.has_exited() {
                return Err(format!("it exited: {}", self.exited.unwrap()));
            }
            if start.elapsed() > bound {
                return Ok(None);
            }
            std::thread::sleep(TICK);
        }
    }

    /// Asks on every socket there is; the answer is that on the first. Once one has come, each must.
    pub(crate) fn ask(&mut self) -> Result<Option<Answer>, String> {
        let (answer, keys) = match self.ask_at_first() {
            Ok(found) => found,
            // The end of the supervisor is seen by who looks for it.
            Err(e) if self.served && !self.may_kill && !self.has_exited() => {
                return Err(format!("a client was not served: {e}"));
            }
            Err(_) => return Ok(None),
        };
        self.served = true;
        for key in keys.iter().filter(|key| !key.starts_with('/')) {
            let refused = |e| format!("a client of {key} was not served: {e}");
            let stream = TcpStream::connect(key).map_err(refused)?;
            stream.set_read_timeout(Some(BOUND)).map_err(refused)?;
            read_answer(stream).map_err(refused)?;
        }
        Ok(Some(answer))
    }

    fn ask_at_first(&self) -> io::Result<(Answer, Vec<String>)> {
        let stream = UnixStream::connect(self.place.path("sock"))?;
        stream.set_read_timeout(Some(BOUND))?;
        read_answer(stream)
    }

    /// Reads what it has told systemd.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.place.manager.recv(&mut buffer) {
            let text =
                String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            for line in text.lines() {
                match line {
                    "READY=1" => self.said_ready = true,
                    "RELOADING=1" => self.said_ready = false,
                    _ => {}
                }
            }
        }
    }

    /// What happens, for people: the end of what it has said.
    pub(crate) fn last_words(&self) -> String {
        let said = self.place.said();
        let lines: Vec<&str> = said.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, |fds| fds.count())
    }

    /// All its calls, once it has ended and strace has written them.
    pub(crate) fn trace(&self) -> Result<Trace, String> {
        let start = Instant::now();
        loop {
            let trace = Trace::parse(&self.place.read("trace"));
            if trace.complete {
                return Ok(trace);
            }
            if start.elapsed() > BOUND {
                return Err("strace has not come to an end".to_owned());
            }
            std::thread::sleep(TICK);
        }
    }
}

fn to_stdio(listener: std::net::TcpListener) -> Stdio {
    std::os::fd::OwnedFd::from(listener).into()
}

fn read_answer(mut from: impl Read) -> io::Result<(Answer, Vec<String>)> {
    let mut text = String::new();
    from.read_to_string(&mut text)?;
    let mut words = text.split_whitespace();
    let answer = || -> Option<Answer> {
        Some(Answer {
            generation: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
        })
    }();
    let broken = || io::Error::other(format!("the answer was {text:?}"));
    Ok((
        answer.ok_or_else(broken)?,
        text.split_whitespace().skip(2).map(str::to_owned).collect(),
    ))
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.has_exited() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
