//! `--restart`: a new generation, and the truth about what became of it.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::client::{Client, Next};
use super::protocol::{Failure, Progress, Step};
use super::spinner::Spinner;
use super::{ControlAddress, Deadline, Until, pidfile};
use crate::error::Error;
use crate::types::{Pid, Seconds};

/// A request for a new generation.
#[derive(Debug, Clone)]
pub struct Restart {
    /// Of which supervisor.
    pub address: ControlAddress,
    /// What to wait for.
    pub until: Until,
    /// How long to wait; `None` for no limit.
    pub timeout: Option<Duration>,
}

/// Asks the supervisor for a new generation and returns when it has taken over. By a control socket
/// the answer is that to this very request, and comes as soon as there is one. By files a generation
/// that fails on the way does not matter, as long as a later one starts.
///
/// # Errors
/// [`Error::NotDone`] if no new generation came up; [`Error::NotRunning`] if there is no supervisor,
/// or it ends meanwhile; [`Error::TimedOut`]; a socket or a file that cannot be used.
pub fn restart(request: &Restart) -> Result<(), Error> {
    let path = match &request.address {
        ControlAddress::Socket(path) => path,
        ControlAddress::Files { pid, status } => {
            return pidfile::restart(pid, status.as_deref(), request);
        }
    };
    let deadline = Deadline::after(request.timeout);
    let mut client = Client::connect(path, deadline)?;
    let until = match request.until {
        Until::Ready => "ready",
        Until::Drained => "drained",
    };
    let parameters = Map::from_iter([("until".to_owned(), Value::from(until))]);
    client.call("Reload", parameters, true)?;

    let mut story = ProgressView::new();
    loop {
        let Some(timeout) = deadline.slice(story.spinner.frame_time()) else {
            return Err(story.timed_out(request));
        };
        match client.next(timeout)? {
            Next::Results(results, more) => {
                let step = serde_json::from_value(results).unwrap_or_default();
                story.goes_on(step);
                if !more {
                    story.spinner.clear();
                    return Ok(());
                }
            }
            Next::Failure(Failure::ReloadFailed { reason, kept, log }) => {
                story.spinner.clear();
                return Err(Error::NotDone(verdict(&reason, kept, log.as_deref())));
            }
            Next::Failure(_) => {
                story.spinner.clear();
                let why = "the supervisor has been told to stop".to_owned();
                return Err(Error::NotRunning(why));
            }
            Next::Nothing => story.time_passes(),
            Next::End => {
                story.spinner.clear();
                return Err(client.gone());
            }
        }
    }
}

fn verdict(reason: &str, kept: Option<u64>, log: Option<&str>) -> String {
    let mut text = format!("the reload failed: {reason}; ");
    match kept {
        Some(generation) => text.push_str(&format!("generation {generation} serves on")),
        None => text.push_str("no worker is left"),
    }
    if let Some(log) = log {
        text.push_str(&format!(" (what was written: {log})"));
    }
    text
}

/// The reload, as it is told: a line for each step, or one that changes, on a terminal.
struct ProgressView {
    spinner: Spinner,
    began: Instant,
    /// The latest step that has a generation.
    latest: Progress,
}

impl ProgressView {
    fn new() -> ProgressView {
        ProgressView {
            spinner: Spinner::new(),
            began: Instant::now(),
            latest: Progress::at(Step::Waiting),
        }
    }

    fn goes_on(&mut self, step: Progress) {
        if let Some(line) = line(&step) {
            self.spinner.line(&line);
        }
        if step.step != Step::AttemptFailed {
            self.latest = step;
        }
        self.time_passes();
    }

    fn time_passes(&mut self) {
        let doing = match (self.latest.step, self.latest.generation) {
            (Step::Started, Some(generation)) => format!("generation {generation} is starting"),
            (Step::Ready, Some(generation)) => format!("generation {generation} is ready"),
            (Step::Checking, _) => "checking first".to_owned(),
            (Step::Waiting, _) => "waiting for what is under way".to_owned(),
            (_, Some(generation)) => format!("generation {generation} serves"),
            (_, None) => "working".to_owned(),
        };
        let draining = match self.latest.draining.as_deref() {
            Some(left @ [_, ..]) => format!(", draining: {}", list(left)),
            _ => String::new(),
        };
        let seconds = self.began.elapsed().as_secs_f64();
        self.spinner
            .draw(&format!("{doing}{draining} ({seconds:.1} s)"));
    }

    fn timed_out(&mut self, request: &Restart) -> Error {
        self.spinner.clear();
        let waited = Seconds(request.timeout.unwrap_or_default());
        let draining = self.latest.draining.as_deref().unwrap_or_default();
        let what = match self.latest.step {
            Step::Replaced | Step::Draining => format!(
                "the new worker is ready, but old ones are still there: {}",
                list(draining)
            ),
            _ => "no new worker is ready (it goes on being tried; --status says how)".to_owned(),
        };
        Error::TimedOut(format!("after {waited} s {what}"))
    }
}

/// What there is to say of a step.
fn line(progress: &Progress) -> Option<String> {
    let generation = progress.generation.map(|g| format!("generation {g}"));
    let generation = generation.unwrap_or_default();
    let draining = progress.draining.as_deref().unwrap_or_default();
    let pid = progress.pid.unwrap_or_default();
    let reason = progress.reason.as_deref().unwrap_or("it did not start");
    Some(match progress.step {
        Step::Waiting => "another start is under way; this one follows".to_owned(),
        Step::Checking => "checking first".to_owned(),
        Step::Started => format!("{generation}: worker {pid} is starting"),
        Step::AttemptFailed => format!("{generation} failed to start: {reason}"),
        Step::Ready => format!("{generation} is ready"),
        Step::Replaced if draining.is_empty() => format!("{generation} has taken over"),
        Step::Replaced => format!(
            "{generation} has taken over; old workers that finish what they have: {}",
            list(draining)
        ),
        Step::Draining => return None,
        Step::Drained => format!("{generation} is alone: the old workers have left"),
    })
}

fn list(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    pids.join(", ")
}
