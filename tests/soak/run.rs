//! A run, from the start of the supervisor to its stop.

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
use crate::steady_state::{self, SteadyState};
use crate::watch::{Watched, watch_on};
use crate::{Plan, actions, report, wait_for};

/// What all threads share.
pub(crate) struct Shared {
    /// Whether clients are to stop.
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

/// The state of the run.
pub(crate) struct Run<'a> {
    pub(crate) server: &'a Server,
    pub(crate) shared: &'a Shared,
    /// All actions, with their times.
    pub(crate) log: Vec<String>,
    /// Whether the log is shown at once.
    verbose: bool,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) steady_states: Vec<(Duration, SteadyState)>,
    /// Connections to the control socket with an incomplete message.
    pub(crate) held: Vec<UnixStream>,
    /// Commands that still run.
    pub(crate) background: Vec<Child>,
    /// The value of `COLOUR` in the envdir.
    pub(crate) colour: Option<u64>,
}

/// The number of actions between two checks of the steady state.
const ACTIONS: u64 = 12;
/// The number of reloads between two checks of the steady state.
const RELOADS: u64 = 250;

pub(crate) fn soak(plan: &Plan) -> ExitCode {
    let server = match Server::start(plan) {
        Ok(server) => server,
        Err(why) => {
            say(&format!("soak: the supervisor did not start:\n    {why}"));
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
    let mut run = Run {
        server: &server,
        shared: &shared,
        log: Vec::new(),
        verbose: std::env::var_os("START_SERVER_SOAK_VERBOSE").is_some(),
        counts: BTreeMap::new(),
        steady_states: Vec::new(),
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
        if let Err(why) = run.drive(plan) {
            shared.fail(&why);
        }
        drop(over);
    });
    if !shared.has_failed() {
        run.stop(plan).unwrap_or_else(|why| shared.fail(&why));
    }
    let failures = shared.failures.lock().unwrap().clone();
    let took = shared.start.elapsed().as_secs_f64();
    say(&format!("soak: seed {}, {took:.1} s", plan.seed));
    report::all(plan, &shared, &run);
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            report::failure(plan, &failures, &run);
            ExitCode::FAILURE
        }
    }
}

/// Stops the clients even after a panic, since the scope waits for them.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Run<'_> {
    fn drive(&mut self, plan: &Plan) -> Result<(), String> {
        // The first upgrade closes descriptors that the supervisor inherited without need.
        self.server.run(&["--upgrade"], 0)?;
        self.check_steady_state()?;
        match plan.reloads {
            Some(reloads) => self.reload(reloads),
            None => self.disturb(plan),
        }?;
        self.undo()?;
        self.check_steady_state()
    }

    /// Random actions.
    fn disturb(&mut self, plan: &Plan) -> Result<(), String> {
        let end = self.shared.start + plan.time;
        for number in 1.. {
            let mut random = Random::new(plan.seed, number);
            let action = actions::pick(&mut random, plan.disk);
            self.note(action.name);
            (action.run)(self, &mut random).map_err(|why| format!("{}: {why}", action.name))?;
            self.check_running()?;
            if number % ACTIONS == 0 {
                self.undo()?;
                self.check_steady_state()?;
            }
            if Instant::now() > end || self.shared.has_failed() {
                break;
            }
            thread::sleep(random.millis(120)); // part of the load, not a wait for an event
        }
        Ok(())
    }

    /// Reloads, each as soon as the last one is over.
    fn reload(&mut self, reloads: u64) -> Result<(), String> {
        let mut generation = self
            .steady_states
            .last()
            .map_or(1, |(_, state)| state.generation);
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
                return Err(format!(
                    "generation {generation} does not come to be alone: {text:?}"
                ));
            }
            if number % RELOADS == 0 {
                actions::rotate(self)?;
                self.check_steady_state()?;
            }
            if self.shared.has_failed() {
                break;
            }
        }
        Ok(())
    }

    /// Counts and logs an action.
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

    fn check_running(&self) -> Result<(), String> {
        match self.server.exited() {
            None => Ok(()),
            Some(status) => Err(format!("the supervisor has ended: {status}")),
        }
    }

    /// Undoes all that would keep the supervisor from its steady state.
    fn undo(&mut self) -> Result<(), String> {
        self.write("undo all");
        actions::undo(self)?;
        self.held.clear();
        self.wait_for_background()?;
        // HUP ends the pause before the replacement of a worker after many deaths.
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

    fn check_steady_state(&mut self) -> Result<(), String> {
        let before = self.steady_states.first().map(|(_, state)| state);
        let state = steady_state::wait(self, before)?;
        let at = self.shared.start.elapsed();
        self.write(&format!("steady state, generation {}", state.generation));
        self.steady_states.push((at, state));
        Ok(())
    }

    /// Stops the supervisor, perhaps during a reload; then nothing may be left.
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
        let status = wait_for(|| self.server.exited()).ok_or("the supervisor does not stop")?;
        if !status.success() {
            return Err(format!("exit status after the stop: {status}"));
        }
        let dir = self.server.dir();
        let processes = dir.processes();
        if !processes.is_empty() {
            return Err(format!("processes are left after the stop: {processes:?}"));
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
            return Err(format!("files are left after the stop: {left:?}"));
        }
        match TcpStream::connect(("127.0.0.1", self.server.port)) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("the port is open after the stop: {other:?}")),
        }
    }
}
