//! Runs a scenario step by step, whatever fails.
//!
//! A step that fails because of the fault is repeated, as a user would do, and must succeed then. The sockets must be
//! served all the time.

use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server_starter_testing::{Process, wait_for_within};

use crate::case::Fault;
use crate::scenarios::{Scenario, Step};
use crate::server::{Answer, BOUND, Server};
use crate::trace::Trace;

/// How long a request may take before it is repeated. More than the start of a worker takes, with 5 s for its exec.
const PATIENCE: Duration = Duration::from_secs(8);

/// The log line of a failed upgrade.
const FAILED: &str = "upgrade refused";

/// How often a request is made at most, in addition to once for each call that fails.
const TRIES: usize = 2;

/// An undisturbed run, with which the others are compared.
pub(crate) struct Baseline {
    pub(crate) trace: Trace,
    pub(crate) directory: String,
    pub(crate) said: String,
    pub(crate) descriptors: usize,
    /// The start time of each step.
    steps: Vec<(f64, Step)>,
}

impl Baseline {
    pub(crate) fn step_at(&self, at: f64) -> Step {
        let begun = self.steps.iter().rev().find(|(since, _)| *since <= at);
        begun.map_or(Step::Start, |(_, step)| *step)
    }
}

/// A run of a scenario, and what was observed.
pub(crate) struct ScenarioRun {
    pub(crate) scenario: &'static Scenario,
    pub(crate) server: Server,
    tries: usize,
    steps: Vec<(f64, Step)>,
    /// The requests that were repeated.
    pub(crate) again: Vec<String>,
    /// The number of descriptors that may be open; `None` without a baseline.
    pub(crate) usual: Option<usize>,
    /// Open descriptors after the last step before the stop.
    pub(crate) descriptors: usize,
}

impl ScenarioRun {
    pub(crate) fn begin(
        scenario: &'static Scenario,
        fault: Option<&Fault>,
        baseline: Option<&Baseline>,
    ) -> ScenarioRun {
        // strace does not make the call: the descriptor stays open.
        let kept = fault.filter(|fault| fault.name == "close");
        let kept = kept.map_or(0, |fault| fault.times);
        ScenarioRun {
            scenario,
            server: Server::start(scenario, fault),
            tries: TRIES + fault.map_or(0, |fault| fault.times),
            steps: Vec::new(),
            again: Vec::new(),
            usual: baseline.map(|baseline| baseline.descriptors + kept),
            descriptors: 0,
        }
    }

    /// Carries out all steps. An error names what did not happen, or that the supervisor ended too early.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        for step in self.scenario.steps {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            self.steps.push((now.as_secs_f64(), *step));
            let done = match step {
                Step::Start => self.start(),
                Step::Status => self.status(),
                Step::Reload => self.reload(|run| {
                    run.server.signal(Signal::SIGHUP);
                    Ok(())
                }),
                Step::Restart => self.reload(|run| run.command("--restart")),
                Step::Rotate => self.rotate(),
                Step::Death => self.death(),
                Step::LogDeath => self.log_death(),
                Step::Settings => self.settings(),
                Step::Upgrade => self.upgrade(),
                Step::Stop => self.stop(|run| {
                    run.server.signal(Signal::SIGTERM);
                    Ok(())
                }),
                Step::AskToStop => self.stop(|run| run.command("--stop")),
            };
            done.map_err(|why| format!("{}: {why}", step.name()))?;
        }
        Ok(())
    }

    /// The baseline, after an undisturbed run.
    pub(crate) fn into_baseline(self) -> Result<Baseline, String> {
        Ok(Baseline {
            trace: self.server.trace()?,
            directory: self.server.dir().text().to_owned(),
            said: self.server.said(),
            descriptors: self.descriptors,
            steps: self.steps,
        })
    }

    fn start(&mut self) -> Result<(), String> {
        self.settle(|_| true).map(drop)
    }

    /// Waits until one worker is left that serves, that the status file lists alone, and that systemd knows to be ready.
    fn settle(&mut self, wanted: impl Fn(&Answer) -> bool) -> Result<Answer, String> {
        let found = self.try_to_settle(BOUND, wanted)?;
        found.ok_or_else(|| "the supervisor does not settle".to_owned())
    }

    fn try_to_settle(
        &mut self,
        bound: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Option<Answer>, String> {
        let managed = self.scenario.inherits;
        self.server.look(bound, |server| {
            server.listen();
            let answer = server.ask()?.filter(&wanted);
            Ok(answer.filter(|Answer { generation, pid }| {
                let alone = format!("{generation}:{pid}\n");
                server.dir().read("status") == alone && (server.said_ready || !managed)
            }))
        })
    }

    /// Makes a request, and repeats it, until it has had its effect.
    fn insist<T>(
        &mut self,
        what: &str,
        ask: impl Fn(&mut ScenarioRun) -> Result<(), String>,
        mut found: impl FnMut(&mut ScenarioRun, Duration) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let mut why = String::new();
        for attempt in 1..=self.tries {
            if attempt > 1 {
                self.again.push(format!("{what} again{why}"));
            }
            // A request that has failed needs a short wait only.
            let (patience, reason) = match ask(self) {
                Ok(()) => (PATIENCE, String::new()),
                Err(e) => (PATIENCE / 16, format!(" ({e})")),
            };
            why = reason;
            if let Some(thing) = found(self, patience)? {
                return Ok(thing);
            }
        }
        Err(format!("not after {} times: {what}{why}", self.tries))
    }

    fn status(&mut self) -> Result<(), String> {
        let mut output = None;
        for attempt in 1..=self.tries {
            let done = self.client(&["--status", "--json"])?;
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            if done.status.success() && text.contains("serving") {
                return Ok(());
            }
            let why = String::from_utf8_lossy(&done.stderr).into_owned();
            if attempt < self.tries {
                let shape = crate::trace::shape_of(&why.replace(self.server.dir().text(), ""));
                self.again
                    .push(format!("--status again ({})", shape.trim()));
            }
            output = Some(why + &text);
        }
        Err(format!("no status: {}", output.unwrap_or_default()))
    }

    fn reload(
        &mut self,
        ask: impl Fn(&mut ScenarioRun) -> Result<(), String>,
    ) -> Result<(), String> {
        let before = self.settle(|_| true)?;
        self.insist("reload", ask, |run, patience| {
            let kept = "keeps serving";
            let failures = run.server.said().matches(kept).count();
            let start = std::time::Instant::now();
            // in short spans, to see that the reload was given up
            while start.elapsed() < patience {
                let newer = |a: &Answer| a.generation > before.generation;
                if let Some(answer) = run.try_to_settle(PATIENCE / 32, newer)? {
                    return Ok(Some(answer));
                }
                if run.server.said().matches(kept).count() > failures {
                    break;
                }
            }
            Ok(None)
        })?;
        let gone = format!("/proc/{}", before.pid);
        let reaped = self.server.look(BOUND, |_| {
            Ok((!fs::exists(&gone).unwrap_or(true)).then_some(()))
        })?;
        reaped.ok_or("the old worker is not reaped")?;
        // the next step begins when this one is complete
        self.settle(|_| true)?;
        self.descriptors = self.descriptors_at_rest();
        Ok(())
    }

    /// The number of open descriptors, once it is no greater than usual, or after a while.
    fn descriptors_at_rest(&self) -> usize {
        let patience = self.usual.map_or(PATIENCE / 64, |_| PATIENCE / 2);
        let usual = wait_for_within(patience, || {
            let open = self.server.descriptors();
            self.usual
                .is_some_and(|usual| open <= usual)
                .then_some(open)
        });
        usual.unwrap_or_else(|| self.server.descriptors())
    }

    fn rotate(&mut self) -> Result<(), String> {
        let log = self.server.dir().path("log");
        fs::rename(&log, self.server.dir().path("log.1")).map_err(|e| e.to_string())?;
        let usr1 = |run: &mut ScenarioRun| {
            run.server.signal(Signal::SIGUSR1);
            Ok(())
        };
        self.insist("USR1", usr1, |run, _| {
            run.server.look(PATIENCE / 4, |server| {
                server.ask()?;
                Ok(log.exists().then_some(()))
            })
        })
    }

    fn upgrade(&mut self) -> Result<(), String> {
        let usr2 = |run: &mut ScenarioRun| {
            run.server.signal(Signal::SIGUSR2);
            Ok(())
        };
        let lines = |server: &Server, what: &str| server.said().matches(what).count();
        self.insist("USR2", usr2, |run, patience| {
            let failures = lines(&run.server, FAILED);
            let upgraded = run.server.look(patience, |server| {
                server.ask()?;
                let done = lines(server, " upgraded from ") > 0;
                let over = done || lines(server, FAILED) > failures;
                Ok(over.then_some(done))
            })?;
            Ok(upgraded.filter(|done| *done).map(drop))
        })?;
        self.settle(|_| true).map(drop)
    }

    fn death(&mut self) -> Result<(), String> {
        let before = self.settle(|_| true)?;
        Process(before.pid).signal(Signal::SIGKILL);
        self.settle(|answer| answer.pid != before.pid).map(drop)
    }

    fn log_death(&mut self) -> Result<(), String> {
        let leader = shells(&self.server).first().copied();
        let leader = leader.ok_or("there is no log command")?;
        // It leads a process group: the shell, and cat.
        let _ = kill(Pid::from_raw(-leader.0), Signal::SIGKILL);
        let back = self.server.look(BOUND, |server| {
            server.ask()?;
            Ok(shells(server).into_iter().find(|shell| *shell != leader))
        })?;
        back.map(drop)
            .ok_or("there is no new log command".to_owned())
    }

    fn settings(&mut self) -> Result<(), String> {
        // Written under another name and renamed, so that each change is one event.
        for value in ["2\n", "1\n"] {
            let (new, file) = (
                self.server.dir().path("tmp/new"),
                self.server.dir().path("env/SETTING"),
            );
            fs::write(&new, value).map_err(|e| e.to_string())?;
            fs::rename(&new, &file).map_err(|e| e.to_string())?;
            self.settle(|_| true)?;
        }
        fs::remove_file(self.server.dir().path("env/SETTING")).map_err(|e| e.to_string())
    }

    /// Runs a client of the control socket.
    fn command(&mut self, what: &str) -> Result<(), String> {
        let output = self.client(&[what])?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let why = String::from_utf8_lossy(&output.stderr);
                let shape = crate::trace::shape_of(&why.replace(self.server.dir().text(), ""));
                Err(shape.trim().replace('\n', " / "))
            }
        }
    }

    fn client(&mut self, arguments: &[&str]) -> Result<Output, String> {
        let control = format!("--control={}", self.server.dir().path("control").display());
        self.server
            .command()
            .args(arguments)
            .args([&control, "--timeout=12"])
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())
    }

    fn stop(&mut self, ask: impl Fn(&mut ScenarioRun) -> Result<(), String>) -> Result<(), String> {
        let exited = self.insist("stop", ask, |run, patience| {
            // the end of the supervisor is the event here, not an error
            let looked = run.server.look::<()>(patience, |_| Ok(None));
            Ok(looked.is_err().then_some(()))
        });
        exited?;
        match self.server.exited() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("it exited: {status}")),
            None => Err("the supervisor has not exited".to_owned()),
        }
    }
}

/// The supervisor's children that are shells: the log command.
fn shells(server: &Server) -> Vec<Process> {
    let mut children = server.process().children();
    children.retain(|child| child.name() == "sh");
    children
}
