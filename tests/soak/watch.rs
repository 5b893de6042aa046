//! Checks during the run what must hold at every moment.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::Shared;
use crate::server::Server;

#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) checks: u64,
    /// The longest time to an answer of the control socket.
    pub(crate) longest: Duration,
    /// The generation of the last successful reload.
    generation: u64,
    since: Option<u64>,
    counters: HashMap<String, u64>,
    /// The process of each generation.
    pids: HashMap<u64, u64>,
}

/// Between two checks.
const PAUSE: Duration = Duration::from_millis(20);

/// Checks until the run is over.
pub(crate) fn watch_on(shared: &Shared, server: &Server) {
    let mut watched = Watched::default();
    while !shared.over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let seen = match server.status() {
            Ok(status) => {
                watched.longest = watched.longest.max(start.elapsed());
                watched.check(server, &status).and_then(|()| file(server))
            }
            Err(e) => Err(format!("the control socket: {e}")),
        };
        if let Err(why) = seen {
            shared.fail(&format!("watching: {why}"));
        }
        watched.checks += 1;
        thread::sleep(PAUSE);
    }
    *shared.watched.lock().unwrap() = watched;
}

impl Watched {
    fn check(&mut self, server: &Server, status: &Value) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {status}"));
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        if number(status, "pid") != Some(server.process().0 as u64) {
            return wrong("the pid has changed");
        }
        let since = number(status, "since");
        if since.is_none() || self.since.is_some_and(|before| since != Some(before)) {
            return wrong(&format!("the start time was {:?}", self.since));
        }
        self.since = since;
        // Until a reload is over the new worker may die, and the old one serves on.
        let over = status
            .pointer("/lastReload/generation")
            .and_then(Value::as_u64);
        self.generation = self.generation.max(over.unwrap_or(0));
        let generation = number(status, "generation");
        if generation.is_some_and(|now| now < self.generation) {
            return wrong(&format!("generation {} had taken over", self.generation));
        }
        let workers = status.get("workers").and_then(Value::as_array);
        let workers = workers.map(Vec::as_slice).unwrap_or_default();
        let starting = |worker: &&Value| worker.get("state") == Some(&"starting".into());
        if workers.iter().filter(starting).count() > 1 {
            return wrong("two workers are starting");
        }
        for worker in workers {
            let (Some(of), Some(pid)) = (number(worker, "generation"), number(worker, "pid"))
            else {
                return wrong("a worker lacks its generation or its pid");
            };
            if *self.pids.entry(of).or_insert(pid) != pid {
                return wrong(&format!("generation {of} was another process before"));
            }
            if let Some(ready) = generation.filter(|ready| *ready == of) {
                if worker.get("state") != Some(&"ready".into()) && !is_stopping(status) {
                    return wrong(&format!("generation {ready} serves and is not ready"));
                }
            }
        }
        let counters = status.get("counters").and_then(Value::as_object);
        for (name, count) in counters.into_iter().flatten() {
            let count = count.as_u64().unwrap_or(0);
            let before = self.counters.insert(name.clone(), count);
            if before.is_some_and(|before| count < before) {
                return wrong(&format!("{name} was {before:?}"));
            }
        }
        Ok(())
    }
}

fn is_stopping(status: &Value) -> bool {
    status.get("state") == Some(&"stopping".into())
}

/// Checks that the status file exists and is complete.
fn file(server: &Server) -> Result<(), String> {
    let path = server.dir().path("small/status");
    let text = std::fs::read_to_string(path).map_err(|e| format!("the status file: {e}"))?;
    let wrong = || format!("the status file is {text:?}");
    let mut before = 0;
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n').and_then(|l| l.split_once(':'));
        let (generation, pid) = line.ok_or_else(wrong)?;
        let generation: u64 = generation.parse().map_err(|_| wrong())?;
        pid.parse::<u32>().map_err(|_| wrong())?;
        if generation <= before {
            return Err(wrong());
        }
        before = generation;
    }
    Ok(())
}
