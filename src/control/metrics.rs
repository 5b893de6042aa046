//! A status as Prometheus reads it: the text format of its exporters, version 0.0.4.

use std::fmt::Write;

use super::protocol::Status;
use crate::machine::WorkerState;

pub(super) fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, f64)]| {
        let _ = writeln!(text, "# HELP start_server_{name} {help}");
        let _ = writeln!(text, "# TYPE start_server_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "start_server_{name}{labels} {value}");
        }
    };
    let info = format!("{{version=\"{}\"}}", status.version);
    family("info", "gauge", "The running release.", &[(&info, 1.0)]);
    let since = status.since as f64;
    let help = "When the supervisor was started, in seconds since 1970.";
    family("start_time_seconds", "gauge", help, &[("", since)]);

    let generation = status.generation.unwrap_or(0) as f64;
    let help = "The generation that serves; 0: none does.";
    family("generation", "gauge", help, &[("", generation)]);

    let count = |standing| {
        let such = status.workers.iter().filter(|w| w.state == standing);
        such.count() as f64
    };
    let workers = [
        ("{state=\"starting\"}", count(WorkerState::Starting)),
        ("{state=\"ready\"}", count(WorkerState::Ready)),
        ("{state=\"draining\"}", count(WorkerState::Draining)),
        ("{state=\"given_up\"}", count(WorkerState::GivenUp)),
    ];
    family("workers", "gauge", "Live workers by state.", &workers);
    let adopted = status.workers.iter().filter(|worker| worker.adopted);
    let adopted = [("", adopted.count() as f64)];
    let help = "Live workers that were taken over from a supervisor that was killed.";
    family("adopted_workers", "gauge", help, &adopted);

    if let Some(verdict) = &status.last_reload {
        let success = f64::from(u8::from(verdict.succeeded));
        let help = "Whether the last reload succeeded.";
        family("last_reload_success", "gauge", help, &[("", success)]);
        let help = "When it ended, in seconds since 1970.";
        let at = verdict.at as f64;
        family("last_reload_timestamp_seconds", "gauge", help, &[("", at)]);
    }

    let counters = status.counters;
    let reloads = [
        ("{result=\"success\"}", counters.reloads_succeeded as f64),
        ("{result=\"failure\"}", counters.reloads_failed as f64),
    ];
    family(
        "reloads_total",
        "counter",
        "Reloads that have ended.",
        &reloads,
    );
    let failures = [("", counters.starts_failed as f64)];
    let help = "Attempts to start a worker that gave none that was ready.";
    family("start_failures_total", "counter", help, &failures);
    let deaths = [("", counters.unexpected_deaths as f64)];
    let help = "Workers that died while they served.";
    family("worker_deaths_total", "counter", help, &deaths);
    text
}
