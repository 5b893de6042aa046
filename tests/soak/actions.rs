//! The actions that disturb a supervisor.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use server_starter_testing::Process;
use server_starter_testing::upgrade::{SAME_PROGRAM, script};

use crate::random::Random;
use crate::run::Run;
use crate::wait_for;
use crate::worker::EMPTY;

type Done = Result<(), String>;

pub(crate) struct Action {
    pub(crate) name: &'static str,
    /// How often it is chosen, relative to the others.
    weight: u64,
    pub(crate) run: fn(&mut Run<'_>, &mut Random) -> Done,
}

/// Writes an [`Action`].
macro_rules! action {
    ($name:literal, $weight:literal, $run:expr) => {
        Action {
            name: $name,
            weight: $weight,
            run: $run,
        }
    };
}

const FILL: &str = "fill or free the disk";

const ACTIONS: [Action; 20] = [
    action!("HUP", 12, |run, _| signal(run, Signal::SIGHUP)),
    action!("a burst of HUPs", 3, burst),
    action!("--restart", 6, restart),
    action!("--restart in the background", 6, restart_later),
    action!("a failing check", 3, failing_check),
    action!("USR2", 6, |run, _| signal(run, Signal::SIGUSR2)),
    action!("--upgrade", 6, upgrade),
    action!("--upgrade to a broken program", 3, bad_upgrade),
    action!("TERM to the worker", 6, end_worker),
    action!("KILL to the worker, parked", 5, kill_worker),
    action!("stop the worker, then HUP", 2, stop_worker),
    action!("KILL to workers without requests", 6, kill_empty),
    action!("rotate the log", 4, |run, _| rotate(run)),
    action!("fill or free the disk", 4, fill),
    action!("a new value in the envdir", 5, set_colour),
    action!("an invalid file in the envdir", 3, set_invalid),
    action!("remove or restore the envdir", 3, remove_envdir),
    action!("auto-restart or kill-old-delay", 3, settings),
    action!("clients of the control socket", 10, clients),
    action!("stop the supervisor for a moment", 4, freeze),
];

pub(crate) fn pick(random: &mut Random, disk: bool) -> &'static Action {
    let possible = || ACTIONS.iter().filter(|action| disk || action.name != FILL);
    let mut ticket = random.below(possible().map(|action| action.weight).sum());
    let mut drawn = possible().filter(|action| {
        let is_it = ticket < action.weight;
        ticket = ticket.saturating_sub(action.weight);
        is_it
    });
    drawn.next().unwrap()
}

fn signal(run: &mut Run<'_>, signal: Signal) -> Done {
    run.server.signal(signal);
    Ok(())
}

fn burst(run: &mut Run<'_>, random: &mut Random) -> Done {
    for _ in 0..20 + random.below(180) {
        run.server.signal(Signal::SIGHUP);
        thread::sleep(Duration::from_micros(random.below(3000)));
    }
    Ok(())
}

/// Only a supervisor that does not answer takes so long.
const TIMEOUT: &str = "--timeout=120";

fn restart(run: &mut Run<'_>, random: &mut Random) -> Done {
    let until = match random.percent(50) {
        true => "--until=ready",
        false => "--until=drained",
    };
    run.server.run(&["--restart", TIMEOUT, until], 0).map(drop)
}

fn restart_later(run: &mut Run<'_>, _: &mut Random) -> Done {
    let mut command = run.server.command(&["--restart", TIMEOUT]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()); // a few lines fit into the pipes
    run.background.push(command.spawn().unwrap());
    Ok(())
}

/// Commands in the background must end first: they would fail, too.
fn failing_check(run: &mut Run<'_>, _: &mut Random) -> Done {
    run.wait_for_background()?;
    let file = run.server.dir().path("no");
    let before = deaths(run)?;
    fs::write(&file, "").unwrap();
    let failed = run.server.run(&["--restart", TIMEOUT], 1).map(drop);
    fs::remove_file(&file).unwrap();
    match failed {
        // The next attempt of an earlier reload, whose check had passed, serves this one, too.
        Err(why) if why.contains("another start is under way") => Ok(()),
        // Without a worker to keep there is no check.
        Err(_) if before.is_none() || before != deaths(run)? => Ok(()),
        failed => failed,
    }
}

/// The number of workers that have died unexpectedly. `None` if no worker serves now.
fn deaths(run: &Run<'_>) -> Result<Option<u64>, String> {
    let status = run.server.status().map_err(|e| e.to_string())?;
    let serves = status.get("generation").is_some_and(|g| g.is_u64());
    let counters = ["/counters/unexpectedDeaths", "/counters/startsFailed"];
    let deaths = counters.map(|name| status.pointer(name)?.as_u64());
    let deaths: Option<u64> = deaths.into_iter().sum();
    Ok(deaths.filter(|_| serves))
}

fn upgrade(run: &mut Run<'_>, random: &mut Random) -> Done {
    if random.percent(50) {
        run.server.replace_program(SAME_PROGRAM);
    }
    run.server.run(&["--upgrade"], 0).map(drop)
}

fn bad_upgrade(run: &mut Run<'_>, random: &mut Random) -> Done {
    let scripts = ["exit 0", "exit 3", "kill -KILL $$", "yes | head -c 1000000"];
    let text = random.pick(&scripts).unwrap();
    run.server.replace_program(&script(text));
    let refused = run.server.run(&["--upgrade"], 1).map(drop);
    run.server.replace_program(SAME_PROGRAM);
    refused
}

/// A worker that serves.
fn serving(run: &Run<'_>, random: &mut Random) -> Option<Process> {
    let mut children = run.server.process().children();
    children.retain(|child| child.name() == "soak-serves");
    random.pick(&children)
}

fn end_worker(run: &mut Run<'_>, random: &mut Random) -> Done {
    if let Some(worker) = serving(run, random) {
        worker.signal(Signal::SIGTERM);
    }
    Ok(())
}

/// Waits until the worker has answered all its requests and is stopped. `None` if there is none.
fn park(run: &mut Run<'_>, random: &mut Random) -> Result<Option<Process>, String> {
    let Some(worker) = serving(run, random) else {
        return Ok(None);
    };
    worker.signal(Signal::SIGUSR1);
    let parked = wait_for(|| match worker.state() {
        Some('T') => Some(Some(worker)),
        _ if worker.name() == EMPTY => Some(Some(worker)), // terminated before
        None | Some('Z') => Some(None),
        _ => None,
    });
    parked.ok_or_else(|| format!("worker {worker} cannot be parked"))
}

fn kill_worker(run: &mut Run<'_>, random: &mut Random) -> Done {
    if let Some(worker) = park(run, random)? {
        kill(run, worker);
    }
    Ok(())
}

/// Kills the worker if it is still a child.
fn kill(run: &Run<'_>, worker: Process) {
    if worker.parent() == Some(run.server.process()) {
        worker.signal(Signal::SIGKILL);
    }
}

/// A stopped worker cannot exit.
fn stop_worker(run: &mut Run<'_>, random: &mut Random) -> Done {
    park(run, random)?;
    signal(run, Signal::SIGHUP)
}

/// Kills workers that drain, hang or fail.
fn kill_empty(run: &mut Run<'_>, _: &mut Random) -> Done {
    for child in run.server.process().children() {
        if child.name() == EMPTY {
            kill(run, child);
            *run.counts
                .entry("workers without requests killed")
                .or_default() += 1;
        }
    }
    Ok(())
}

pub(crate) fn rotate(run: &mut Run<'_>) -> Done {
    let dir = run.server.dir();
    let log = dir.path("small/log");
    fs::rename(&log, dir.path("small/log.1")).map_err(|e| e.to_string())?;
    let said = dir.read("small/log.1");
    if let Some(line) = said.lines().find(|line| line.contains("panicked")) {
        return Err(format!("the log has: {line}"));
    }
    run.server.signal(Signal::SIGUSR1);
    wait_for(|| log.exists().then_some(())).ok_or("the log is not reopened".to_owned())
}

fn fill(run: &mut Run<'_>, random: &mut Random) -> Done {
    let path = run.server.dir().path("small/filler");
    if path.exists() {
        return fs::remove_file(&path).map_err(|e| e.to_string());
    }
    let mut file = File::create(&path).unwrap();
    let block = [b'x'; 4096];
    while file.write_all(&block).is_ok() {}
    for _ in 0..random.below(3) {
        signal(run, Signal::SIGHUP)?;
        thread::sleep(random.millis(100));
    }
    Ok(())
}

/// Writes a variable atomically: files whose names begin with a dot are not read.
fn set(run: &mut Run<'_>, name: &str, value: &[u8]) -> Done {
    restore_envdir(run);
    let directory = run.server.dir().path("env");
    let hidden = directory.join(".new");
    fs::write(&hidden, value).map_err(|e| e.to_string())?;
    fs::rename(hidden, directory.join(name)).map_err(|e| e.to_string())
}

fn set_colour(run: &mut Run<'_>, random: &mut Random) -> Done {
    let colour = random.below(1_000_000);
    set(run, "COLOUR", format!("{colour}\n").as_bytes())?;
    restart(run, random)?;
    run.colour = Some(colour);
    Ok(())
}

/// The variables that are invalid, or that are set for a while only.
const TEMPORARY: [&str; 6] = [
    "NUL",
    "A=B",
    "LONG",
    "KILL_OLD_DELAY",
    "ENABLE_AUTO_RESTART",
    "AUTO_RESTART_INTERVAL",
];

fn set_invalid(run: &mut Run<'_>, random: &mut Random) -> Done {
    match random.below(4) {
        0 => set(run, "NUL", b"a\0b\n"),
        1 => set(run, "A=B", b"x\n"),
        2 => set(run, "LONG", &vec![b'x'; 200_000]),
        _ => set(run, "KILL_OLD_DELAY", b"soon\n"),
    }
}

fn settings(run: &mut Run<'_>, random: &mut Random) -> Done {
    match random.percent(50) {
        true => set(run, "KILL_OLD_DELAY", b"0.3\n"),
        false => {
            set(run, "AUTO_RESTART_INTERVAL", b"0.5\n")?;
            set(run, "ENABLE_AUTO_RESTART", b"1\n")
        }
    }
}

fn remove_envdir(run: &mut Run<'_>, _: &mut Random) -> Done {
    if !restore_envdir(run) {
        let dir = run.server.dir();
        fs::rename(dir.path("env"), dir.path("away")).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Restores the envdir; whether it was removed.
fn restore_envdir(run: &Run<'_>) -> bool {
    let dir = run.server.dir();
    fs::rename(dir.path("away"), dir.path("env")).is_ok()
}

/// Undoes what would keep the supervisor from its steady state.
pub(crate) fn undo(run: &mut Run<'_>) -> Done {
    restore_envdir(run);
    let dir = run.server.dir();
    let files = TEMPORARY.map(|name| format!("env/{name}"));
    for name in files.iter().map(String::as_str).chain(["small/filler"]) {
        let _ = fs::remove_file(dir.path(name)); // it may not exist
    }
    Ok(())
}

fn clients(run: &mut Run<'_>, random: &mut Random) -> Done {
    const MOST_HELD: usize = 20;
    let path = run.server.dir().path("control");
    let connect = || UnixStream::connect(&path).map_err(|e| format!("cannot connect: {e}"));
    match random.below(6) {
        0 => run.server.run(&["--status"], 0).map(drop),
        1 => run.server.run(&["--status", "--metrics"], 0).map(drop),
        // The supervisor may close the connection during the message.
        2 => {
            let count = 1 + random.below(200_000);
            drop(connect()?.write_all(&random.bytes(count)));
            Ok(())
        }
        3 => {
            let mut half = connect()?;
            drop(half.write_all(b"{\"method\":\"org.serverstarter.Super"));
            if run.held.len() < MOST_HELD {
                run.held.push(half);
            }
            Ok(())
        }
        4 => {
            let all: Result<Vec<UnixStream>, String> = (0..60).map(|_| connect()).collect();
            all.map(drop)
        }
        // The client closes the connection before the answer.
        _ => {
            let call = b"{\"method\":\"org.serverstarter.Supervisor.Reload\",\"more\":true}\0";
            let mut client = connect()?;
            drop(client.write_all(call));
            if random.percent(50) {
                drop(client.read(&mut [0]));
            }
            Ok(())
        }
    }
}

fn freeze(run: &mut Run<'_>, random: &mut Random) -> Done {
    run.server.signal(Signal::SIGSTOP);
    for _ in 0..random.below(4) {
        let all = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
        run.server.signal(random.pick(&all).unwrap());
    }
    thread::sleep(random.millis(200));
    run.server.signal(Signal::SIGCONT);
    Ok(())
}
