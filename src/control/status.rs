//! `--status`: how a supervisor is, for people, for programs (JSON) and for Prometheus.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::client::{Client, Next};
use super::{Deadline, metrics, protocol};
use crate::error::Error;
use crate::machine::{SupervisorState, WorkerState};
use crate::sys::clock::{local_date, unix_time};

/// A request to know.
#[derive(Debug, Clone)]
pub struct Status {
    /// The supervisor's control socket.
    pub socket: PathBuf,
    /// For whom.
    pub format: Format,
    /// How long to wait; `None` for no limit.
    pub timeout: Option<Duration>,
}

/// For whom a status is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// People.
    Text,
    /// Programs: what the method `Status` of the control socket returns.
    Json,
    /// Prometheus' text format, as for node_exporter's textfile collector.
    Metrics,
}

/// Asks a supervisor how it is.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::TimedOut`]; a socket that cannot be used.
pub fn status(request: &Status) -> Result<String, Error> {
    let deadline = Deadline::after(request.timeout);
    let mut client = Client::connect(&request.socket, deadline)?;
    let results = match client.ask("Status", deadline)? {
        Next::Results(results, _) => results,
        _ => return Err(client.gone()),
    };
    if request.format == Format::Json {
        let text = serde_json::to_string_pretty(&results).unwrap_or_default();
        return Ok(text + "\n");
    }
    let status: protocol::Status = serde_json::from_value(results)
        .map_err(|e| Error::NotDone(format!("the supervisor is another release: {e}")))?;
    Ok(match request.format {
        Format::Metrics => metrics::text(&status),
        _ => text(&status, unix_time()),
    })
}

fn text(status: &protocol::Status, now: u64) -> String {
    let mut text = String::new();
    let doing = match status.state {
        SupervisorState::Starting => "starting, no worker serves",
        SupervisorState::Serving => "serving",
        SupervisorState::Reloading => "reloading",
        SupervisorState::Stopping => "stopping",
    };
    let protocol::Status { version, pid, .. } = status;
    let up = match now.saturating_sub(status.since) {
        seconds @ 0..10 => format!("{seconds} s"), // no more is known
        seconds => age(seconds as f64),
    };
    let _ = writeln!(text, "start_server {version} (pid {pid}), up {up}: {doing}");
    for worker in status.workers.iter().rev() {
        let protocol::Worker {
            generation, pid, ..
        } = worker;
        let since = worker.ready_for.unwrap_or(worker.age);
        let standing = match worker.state {
            WorkerState::Starting => format!("starting for {}", age(worker.age)),
            WorkerState::Ready => format!("ready for {}", age(since)),
            WorkerState::Draining => format!("draining, {} old", age(worker.age)),
            WorkerState::GivenUp => "never ready, being stopped".to_owned(),
        };
        let adopted = if worker.adopted { ", taken over" } else { "" };
        let _ = write!(
            text,
            "  generation {generation}: worker {pid}{adopted}, {standing}"
        );
        match &worker.says {
            Some(words) => drop(writeln!(text, ": {words}")),
            None => text.push('\n'),
        }
    }
    if status.workers.is_empty() {
        text.push_str("  no worker\n");
    }
    for socket in &status.sockets {
        let protocol::Socket { key, fd, .. } = socket;
        let from = match (socket.inherited, socket.kept) {
            (true, _) => ", inherited",
            (false, true) => ", kept by systemd across restarts",
            (false, false) => "",
        };
        let _ = writeln!(text, "  socket {key} (fd {fd}{from})");
    }
    match &status.last_reload {
        None => text.push_str("no reload yet\n"),
        Some(verdict) => {
            let at = local_date(verdict.at);
            let result = match (&verdict.reason, verdict.generation) {
                (None, Some(generation)) => format!("generation {generation} took over"),
                (None, None) => "succeeded".to_owned(),
                (Some(reason), Some(kept)) => format!("failed: {reason}; generation {kept} kept"),
                (Some(reason), None) => format!("failed: {reason}"),
            };
            let _ = writeln!(text, "last reload at {at}: {result}");
        }
    }
    let counters = status.counters;
    let _ = writeln!(
        text,
        "reloads: {} succeeded, {} failed; starts that failed: {}; workers that died unasked: {}",
        counters.reloads_succeeded,
        counters.reloads_failed,
        counters.starts_failed,
        counters.unexpected_deaths
    );
    text.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// The two greatest units of a span of time: `3 d 4 h`.
fn age(seconds: f64) -> String {
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} min {} s", whole % 60),
        3600..86400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let cases = [
            (0.04, "0.0 s"),
            (9.96, "10.0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(seconds), expected);
        }
    }
}
