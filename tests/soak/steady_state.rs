//! The steady state: what must hold when no request to the supervisor is pending.

use std::collections::BTreeMap;
use std::time::Duration;

use server_starter_testing::Process;

use crate::load::ask;
use crate::run::Run;
use crate::wait_for;

/// A steady state.
#[derive(Debug, Clone)]
pub(crate) struct SteadyState {
    pub(crate) generation: u64,
    /// The supervisor's open files, by kind.
    pub(crate) open: BTreeMap<String, usize>,
    /// The number of files in the directory of the notification sockets.
    temporary: usize,
    /// Resident memory, in kB.
    pub(crate) memory: u64,
    /// Resident memory that is not mapped from a file, in kB.
    pub(crate) own_memory: u64,
}

impl SteadyState {
    pub(crate) fn descriptors(&self) -> usize {
        self.open.values().sum()
    }
}

/// How much memory may grow since the first steady state, in kB.
const GROWTH: u64 = 1024;

/// Waits for the steady state, which must equal the state `before`.
pub(crate) fn wait(run: &Run<'_>, before: Option<&SteadyState>) -> Result<SteadyState, String> {
    let mut why = String::new();
    let state = wait_for(|| {
        if run.server.exited().is_some() {
            return Some(None);
        }
        match look(run, before) {
            Ok(state) => Some(Some(state)),
            Err(reason) => {
                why = reason;
                None
            }
        }
    });
    state
        .flatten()
        .ok_or_else(|| format!("no steady state: {why}"))
}

/// The steady state, or the reason why there is none.
fn look(run: &Run<'_>, before: Option<&SteadyState>) -> Result<SteadyState, String> {
    let (server, dir) = (run.server, run.server.dir());
    let supervisor = server.process();
    let status = server.status().map_err(|e| e.to_string())?;
    let children = supervisor.children();
    let [worker] = children.as_slice() else {
        return Err(format!("the children are {children:?}: {status}"));
    };
    let number = |name: &str| status.get(name)?.as_u64();
    let generation =
        number("generation").ok_or_else(|| format!("no generation serves: {status}"))?;
    let workers = status.get("workers").and_then(|w| w.as_array());
    let is_it = |of: &serde_json::Value| {
        of.get("generation")?
            .as_u64()
            .filter(|n| *n == generation)?;
        of.get("pid")?
            .as_i64()
            .filter(|pid| *pid == i64::from(worker.0))?;
        (of.get("state")?.as_str() == Some("ready")).then_some(())
    };
    let alone = workers.filter(|all| all.len() == 1);
    let serving = status.get("state") == Some(&"serving".into());
    if !serving || alone.and_then(|all| is_it(all.first()?)).is_none() {
        return Err(format!("worker {worker} is not listed alone: {status}"));
    }
    same(
        "the status file",
        &dir.read("small/status"),
        &format!("{generation}:{worker}\n"),
    )?;
    same("the pid file", &dir.read("pid"), &format!("{supervisor}\n"))?;
    let mut leftovers = dir.names("small");
    leftovers.retain(|name| name.starts_with("status."));
    same("temporary status files", &leftovers, &Vec::new())?;
    let answer = ask(run.shared, true, 1, Duration::ZERO).map_err(|e| e.to_string())?;
    same(
        "the worker that answers",
        &(answer.generation, answer.pid),
        &(generation, worker.0),
    )?;
    if let Some(colour) = run.colour {
        same(
            "the value of the envdir",
            &answer.colour,
            &colour.to_string(),
        )?;
    }
    let mut processes = dir.processes();
    processes.sort_unstable();
    let mut wanted = vec![supervisor, *worker];
    wanted.sort_unstable();
    same("the processes", &processes, &wanted)?;
    same(
        "the threads",
        &supervisor.status("Threads").as_deref(),
        &Some("1"),
    )?;

    let memory = |name: &str| {
        let kilobytes = supervisor.status(name)?;
        kilobytes.strip_suffix(" kB")?.parse().ok()
    };
    let state = SteadyState {
        generation,
        open: open(supervisor),
        temporary: files_in(&dir.path("tmp")),
        memory: memory("VmRSS").ok_or("no VmRSS")?,
        own_memory: memory("RssAnon").ok_or("no RssAnon")?,
    };
    if let Some(before) = before {
        same("the descriptors", &state.open, &before.open)?;
        same("the temporary files", &state.temporary, &before.temporary)?;
        if state.own_memory > before.own_memory + GROWTH {
            let (now, before) = (state.own_memory, before.own_memory);
            return Err(format!("own memory has grown from {before} kB to {now} kB"));
        }
    }
    Ok(state)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, was: &T) -> Result<(), String> {
    match is == was {
        true => Ok(()),
        false => Err(format!("{what}: {is:?}, expected {was:?}")),
    }
}

/// The open files of a process by kind, without the inodes of sockets.
fn open(process: Process) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for target in process.descriptors().into_values() {
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn files_in(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| 1 + files_in(&entry.path())).sum()
}
