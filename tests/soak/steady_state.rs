//! At rest: what must be true when nothing has been asked for that is not over.

use std::collections::BTreeMap;
use std::time::Duration;

use server_starter_testing::Process;

use crate::life::Life;
use crate::load::ask;
use crate::wait_for;

/// How it was.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub(crate) generation: u64,
    /// The supervisor's open files, by kind.
    pub(crate) open: BTreeMap<String, usize>,
    /// What the notify sockets need.
    temporary: usize,
    /// In kB: in all, and what is not a part of a file.
    pub(crate) memory: u64,
    pub(crate) own_memory: u64,
}

impl Rest {
    pub(crate) fn descriptors(&self) -> usize {
        self.open.values().sum()
    }
}

/// Memory may grow by so much, in kB, over that of the first times.
const GROWTH: u64 = 1024;

/// Waits until all is at rest. `before`: an earlier time, as which it must be again.
pub(crate) fn wait(life: &Life<'_>, before: Option<&Rest>) -> Result<Rest, String> {
    let mut why = String::new();
    let rest = wait_for(|| {
        if life.server.exited().is_some() {
            return Some(None);
        }
        match look(life, before) {
            Ok(rest) => Some(Some(rest)),
            Err(reason) => {
                why = reason;
                None
            }
        }
    });
    let rest = rest.flatten();
    rest.ok_or_else(|| format!("it does not come to rest: {why}"))
}

/// Whether it is; if not, why not.
fn look(life: &Life<'_>, before: Option<&Rest>) -> Result<Rest, String> {
    let (server, dir) = (life.server, life.server.dir());
    let supervisor = server.process();
    let status = server.status().map_err(|e| e.to_string())?;
    let children = supervisor.children();
    let [worker] = children.as_slice() else {
        return Err(format!("its children are {children:?}: {status}"));
    };
    let number = |name: &str| status.get(name)?.as_u64();
    let generation = number("generation").ok_or_else(|| format!("none serves: {status}"))?;
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
        return Err(format!("worker {worker} is not all there is: {status}"));
    }
    same(
        "the status file",
        &dir.read("small/status"),
        &format!("{generation}:{worker}\n"),
    )?;
    same("the pid file", &dir.read("pid"), &format!("{supervisor}\n"))?;
    let mut leftovers = dir.names("small");
    leftovers.retain(|name| name.starts_with("status."));
    same("what is left of status files", &leftovers, &Vec::new())?;
    let answer = ask(life.shared, true, 1, Duration::ZERO).map_err(|e| e.to_string())?;
    same(
        "who answers",
        &(answer.generation, answer.pid),
        &(generation, worker.0),
    )?;
    if let Some(colour) = life.colour {
        same("what the envdir said", &answer.colour, &colour.to_string())?;
    }
    let mut processes = dir.processes();
    processes.sort_unstable();
    let mut wanted = vec![supervisor, *worker];
    wanted.sort_unstable();
    same("the processes", &processes, &wanted)?;
    same(
        "its threads",
        &supervisor.status("Threads").as_deref(),
        &Some("1"),
    )?;

    let memory = |name: &str| {
        let kilobytes = supervisor.status(name)?;
        kilobytes.strip_suffix(" kB")?.parse().ok()
    };
    let rest = Rest {
        generation,
        open: open(supervisor),
        temporary: files_in(&dir.path("tmp")),
        memory: memory("VmRSS").ok_or("no VmRSS")?,
        own_memory: memory("RssAnon").ok_or("no RssAnon")?,
    };
    if let Some(before) = before {
        same("its descriptors", &rest.open, &before.open)?;
        same("its temporary files", &rest.temporary, &before.temporary)?;
        if rest.own_memory > before.own_memory + GROWTH {
            let (now, before) = (rest.own_memory, before.own_memory);
            return Err(format!("it has {now} kB of its own, and had {before} kB"));
        }
    }
    Ok(rest)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, was: &T) -> Result<(), String> {
    match is == was {
        true => Ok(()),
        false => Err(format!("{what}: {is:?}, and not {was:?}")),
    }
}

/// What is open in a process, by kind: the numbers of sockets differ.
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
