//! One life of a supervisor, from start to stop.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use server_starter_testing::say;

use crate::load::{CLIENTS, Seen, ask_on};
use crate::random::Random;
use crate::server::Server;
use crate::steady_state::{self, Rest};
use crate::watch::{Watched, watch_on};
use crate::{Plan, actions, report, wait_for};

/// What all threads have in common.
pub(crate) struct Shared {
    /// Clients are to stop.
    pub(crate) over: AtomicBool,
    failures: Mutex<Vec<String>>,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) watched: Mutex<Watched>,
    pub(crate) socket: PathBuf,
    pub(crate) port: u16,
    start: Instant,
}

impl Shared {
    pub(crate) fn fail(&self, why: &str) {
        let at = self.start.elapsed().as_secs_f64();
        let mut failures = self.failures.lock().unwrap();
        failures.push(format!("after {at:.3} s: {why}"));
    }

    fn has_failed(&self) -> bool {
        !self.failures.lock().unwrap().is_empty()
    }
}

/// What is done to it, and what is left of that.
pub(crate) struct Life<'a> {
    pub(crate) server: &'a Server,
    pub(crate) shared: &'a Shared,
    /// What was done when.
    pub(crate) log: Vec<String>,
    /// It is shown as it goes.
    verbose: bool,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) rests: Vec<(Duration, Rest)>,
    /// Connections to the control socket that say nothing more.
    pub(crate) held: Vec<UnixStream>,
    /// Commands that wait for their answer.
    pub(crate) background: Vec<Child>,
    /// What workers are told by the envdir.
    pub(crate) colour: Option<u64>,
}

/// From one rest to the next.
const ACTIONS: u64 = 12;
const RELOADS: u64 = 250;

pub(crate) fn live(plan: &Plan) -> ExitCode {
    let server = match Server::start(plan) {
        Ok(server) => server,
        Err(why) => {
            say(&format!("soak: it has not started:\n    {why}"));
            return ExitCode::FAILURE;
        }
    };
    let shared = Shared {
        over: AtomicBool::new(false),
        failures: Mutex::default(),
        seen: Mutex::default(),
        watched: Mutex::default(),
        socket: server.dir().path("sock"),
        port: server.port,
        start: Instant::now(),
    };
    let mut life = Life {
        server: &server,
        shared: &shared,
        log: Vec::new(),
        verbose: std::env::var_os("START_SERVER_SOAK_VERBOSE").is_some(),
        counts: BTreeMap::new(),
        rests: Vec::new(),
        held: Vec::new(),
        background: Vec::new(),
        colour: None,
    };
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let shared = &shared;
            scope.spawn(move || ask_on(shared, number, plan.seed));
        }
        scope.spawn(|| watch_on(&shared, &server));
        let over = StopAtTheEnd(&shared.over);
        if let Err(why) = life.drive(plan) {
            shared.fail(&why);
        }
        drop(over);
    });
    if !shared.has_failed() {
        life.stop(plan).unwrap_or_else(|why| shared.fail(&why));
    }
    let failures = shared.failures.lock().unwrap().clone();
    let took = shared.start.elapsed().as_secs_f64();
    say(&format!("soak: seed {}, {took:.1} s", plan.seed));
    report::all(plan, &shared, &life);
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            report::failure(plan, &failures, &life);
            ExitCode::FAILURE
        }
    }
}

/// The clients stop even when this panics: the scope waits for them.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Life<'_> {
    fn drive(&mut self, plan: &Plan) -> Result<(), String> {
        // What it has from us and did not want goes with the first upgrade.
        self.server.run(&["--upgrade"], 0)?;
        self.rest()?;
        match plan.reloads {
            Some(reloads) => self.reload(reloads),
            None => self.suffer(plan),
        }?;
        self.calm()?;
        self.rest()
    }

    /// Everything at random.
    fn suffer(&mut self, plan: &Plan) -> Result<(), String> {
        let end = self.shared.start + plan.time;
        for number in 1.. {
            let mut random = Random::new(plan.seed, number);
            let action = actions::pick(&mut random, plan.disk);
            self.note(action.name);
            (action.run)(self, &mut random).map_err(|why| format!("{}: {why}", action.name))?;
            self.still_there()?;
            if number % ACTIONS == 0 {
                self.calm()?;
                self.rest()?;
            }
            if Instant::now() > end || self.shared.has_failed() {
                break;
            }
            thread::sleep(random.millis(120)); // a part of the load: nothing is waited for
        }
        Ok(())
    }

    /// Reloads, each as soon as the one before is over.
    fn reload(&mut self, reloads: u64) -> Result<(), String> {
        let mut generation = self.rests.last().map_or(1, |(_, rest)| rest.generation);
        let path = self.server.dir().path("small/status");
        for number in 1..=reloads {
            self.server.signal(Signal::SIGHUP);
            *self.counts.entry("HUP").or_default() += 1;
            generation += 1;
            let wanted = format!("{generation}:");
            let alone = || {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                (text.starts_with(&wanted) && text.lines().count() == 1).then_some(())
            };
            if wait_for(alone).is_none() {
                let text = self.server.dir().read("small/status");
                return Err(format!("generation {generation} is not alone: {text:?}"));
            }
            if number % RELOADS == 0 {
                actions::rotate(self)?;
                self.rest()?;
            }
            if self.shared.has_failed() {
                break;
            }
        }
        Ok(())
    }

    /// For the log of what was done.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        self.write(what);
    }

    pub(crate) fn write(&mut self, what: &str) {
        let at = self.shared.start.elapsed().as_secs_f64();
        let line = format!("{at:8.3} {what}");
        if self.verbose {
            say(&line);
        }
        self.log.push(line);
    }

    fn still_there(&self) -> Result<(), String> {
        match self.server.exited() {
            None => Ok(()),
            Some(status) => Err(format!("the supervisor has ended: {status}")),
        }
    }

    /// Takes back all that would keep it from coming to rest.
    fn calm(&mut self) -> Result<(), String> {
        self.write("calm");
        actions::take_back(self)?;
        self.held.clear();
        self.wait_for_background()?;
        // A worker that died soon after many others is replaced after a pause only, but for this.
        self.server.signal(Signal::SIGHUP);
        actions::rotate(self)
    }

    pub(crate) fn wait_for_background(&mut self) -> Result<(), String> {
        for command in std::mem::take(&mut self.background) {
            let output = command.wait_with_output().unwrap();
            if !output.status.success() {
                return Err(format!("--restart in the background: {output:?}"));
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), String> {
        let before = self.rests.first().map(|(_, rest)| rest);
        let rest = steady_state::wait(self, before)?;
        let at = self.shared.start.elapsed();
        self.write(&format!("at rest, generation {}", rest.generation));
        self.rests.push((at, rest));
        Ok(())
    }

    /// In the midst of things; and then nothing is left.
    fn stop(&mut self, plan: &Plan) -> Result<(), String> {
        let mut random = Random::new(plan.seed, 0);
        for _ in 0..random.below(3) {
            self.server.signal(Signal::SIGHUP);
            thread::sleep(random.millis(20));
        }
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];
        match random.percent(25) {
            true => drop(self.server.run(&["--stop"], 0)?),
            false => self.server.signal(random.pick(&signals).unwrap()),
        }
        let status = wait_for(|| self.server.exited()).ok_or("it does not stop")?;
        if !status.success() {
            return Err(format!("after the stop: {status}"));
        }
        let dir = self.server.dir();
        let processes = dir.processes();
        if !processes.is_empty() {
            return Err(format!("after the stop {processes:?} are there"));
        }
        let expected = [
            "start_server",
            "stdout",
            "stderr",
            "never",
            "tmp",
            "env",
            "small",
            "log",
            "log.1",
        ];
        let mut left = ["", "small", "tmp"]
            .map(|directory| dir.names(directory))
            .concat();
        left.retain(|name| !expected.contains(&name.as_str()));
        if !left.is_empty() {
            return Err(format!("after the stop {left:?} are there"));
        }
        match TcpStream::connect(("127.0.0.1", self.server.port)) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("after the stop somebody listens: {other:?}")),
        }
    }
}
