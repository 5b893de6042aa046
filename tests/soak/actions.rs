//! What can be done to a supervisor.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use server_starter_testing::Process;
use server_starter_testing::upgrade::{SAME_PROGRAM, script};

use crate::life::Life;
use crate::random::Random;
use crate::wait_for;
use crate::worker::EMPTY;

type Done = Result<(), String>;

pub(crate) struct Action {
    pub(crate) name: &'static str,
    /// How often, beside the others.
    weight: u64,
    pub(crate) run: fn(&mut Life<'_>, &mut Random) -> Done,
}

/// An [`Action`].
macro_rules! action {
    ($name:literal, $weight:literal, $run:expr) => {
        Action {
            name: $name,
            weight: $weight,
            run: $run,
        }
    };
}

const FILL: &str = "the disk is filled, or freed";

const ACTIONS: [Action; 20] = [
    action!("HUP", 12, |life, _| signal(life, Signal::SIGHUP)),
    action!("a storm of HUPs", 3, storm),
    action!("--restart", 6, restart),
    action!("--restart in the background", 6, restart_later),
    action!("a check that fails", 3, failing_check),
    action!("USR2", 6, |life, _| signal(life, Signal::SIGUSR2)),
    action!("--upgrade", 6, upgrade),
    action!("--upgrade to what does not work", 3, bad_upgrade),
    action!("TERM to the worker", 6, end_worker),
    action!("KILL to the worker, parked", 5, kill_worker),
    action!("the worker is stopped, and HUP", 2, stop_worker),
    action!("KILL to those that serve nobody", 6, kill_empty),
    action!("the log is rotated", 4, |life, _| rotate(life)),
    action!("the disk is filled, or freed", 4, fill),
    action!("another value in the envdir", 5, colour),
    action!("nonsense in the envdir", 3, nonsense),
    action!("the envdir goes, or comes back", 3, vanish),
    action!("auto-restart, or a delay", 3, settings),
    action!("clients of the control socket", 10, clients),
    action!("the supervisor is stopped for a moment", 4, freeze),
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

fn signal(life: &mut Life<'_>, signal: Signal) -> Done {
    life.server.signal(signal);
    Ok(())
}

fn storm(life: &mut Life<'_>, random: &mut Random) -> Done {
    for _ in 0..20 + random.below(180) {
        life.server.signal(Signal::SIGHUP);
        thread::sleep(Duration::from_micros(random.below(3000)));
    }
    Ok(())
}

/// Nothing but a supervisor that does not answer is as slow as this.
const TIMEOUT: &str = "--timeout=120";

fn restart(life: &mut Life<'_>, random: &mut Random) -> Done {
    let until = match random.percent(50) {
        true => "--until=ready",
        false => "--until=drained",
    };
    life.server.run(&["--restart", TIMEOUT, until], 0).map(drop)
}

fn restart_later(life: &mut Life<'_>, _: &mut Random) -> Done {
    let mut command = life.server.command(&["--restart", TIMEOUT]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()); // some lines
    life.background.push(command.spawn().unwrap());
    Ok(())
}

/// Those in the background come first: they would fail, too.
fn failing_check(life: &mut Life<'_>, _: &mut Random) -> Done {
    life.wait_for_background()?;
    let file = life.server.dir().path("no");
    let before = deaths(life)?;
    fs::write(&file, "").unwrap();
    let failed = life.server.run(&["--restart", TIMEOUT], 1).map(drop);
    fs::remove_file(&file).unwrap();
    match failed {
        // The next attempt of a reload that was checked before answers this one, too.
        Err(why) if why.contains("another start is under way") => Ok(()),
        // With no worker to keep nothing is checked.
        Err(_) if before.is_none() || before != deaths(life)? => Ok(()),
        failed => failed,
    }
}

/// How many have died while they served, or before; none: nobody serves now.
fn deaths(life: &Life<'_>) -> Result<Option<u64>, String> {
    let status = life.server.status().map_err(|e| e.to_string())?;
    let serves = status.get("generation").is_some_and(|g| g.is_u64());
    let counters = ["/counters/unexpectedDeaths", "/counters/startsFailed"];
    let deaths = counters.map(|name| status.pointer(name)?.as_u64());
    let deaths: Option<u64> = deaths.into_iter().sum();
    Ok(deaths.filter(|_| serves))
}

fn upgrade(life: &mut Life<'_>, random: &mut Random) -> Done {
    if random.percent(50) {
        life.server.replace_program(SAME_PROGRAM);
    }
    life.server.run(&["--upgrade"], 0).map(drop)
}

fn bad_upgrade(life: &mut Life<'_>, random: &mut Random) -> Done {
    let scripts = ["exit 0", "exit 3", "kill -KILL $$", "yes | head -c 1000000"];
    let text = random.pick(&scripts).unwrap();
    life.server.replace_program(&script(text));
    let refused = life.server.run(&["--upgrade"], 1).map(drop);
    life.server.replace_program(SAME_PROGRAM);
    refused
}

/// One that serves.
fn serving(life: &Life<'_>, random: &mut Random) -> Option<Process> {
    let mut children = life.server.process().children();
    children.retain(|child| child.name() == "soak-serves");
    random.pick(&children)
}

fn end_worker(life: &mut Life<'_>, random: &mut Random) -> Done {
    if let Some(worker) = serving(life, random) {
        worker.signal(Signal::SIGTERM);
    }
    Ok(())
}

/// It has answered everybody then, and is stopped; or it has gone.
fn park(life: &mut Life<'_>, random: &mut Random) -> Result<Option<Process>, String> {
    let Some(worker) = serving(life, random) else {
        return Ok(None);
    };
    worker.signal(Signal::SIGUSR1);
    let parked = wait_for(|| match worker.state() {
        Some('T') => Some(Some(worker)),
        _ if worker.name() == EMPTY => Some(Some(worker)), // told to leave before
        None | Some('Z') => Some(None),
        _ => None,
    });
    parked.ok_or_else(|| format!("worker {worker} cannot be parked"))
}

fn kill_worker(life: &mut Life<'_>, random: &mut Random) -> Done {
    if let Some(worker) = park(life, random)? {
        kill(life, worker);
    }
    Ok(())
}

/// Kills it if it is still there.
fn kill(life: &Life<'_>, worker: Process) {
    if worker.parent() == Some(life.server.process()) {
        worker.signal(Signal::SIGKILL);
    }
}

/// One that cannot leave.
fn stop_worker(life: &mut Life<'_>, random: &mut Random) -> Done {
    park(life, random)?;
    signal(life, Signal::SIGHUP)
}

/// Workers that drain, hang or fail.
fn kill_empty(life: &mut Life<'_>, _: &mut Random) -> Done {
    for child in life.server.process().children() {
        if child.name() == EMPTY {
            kill(life, child);
            *life
                .counts
                .entry("workers killed that served nobody")
                .or_default() += 1;
        }
    }
    Ok(())
}

pub(crate) fn rotate(life: &mut Life<'_>) -> Done {
    let dir = life.server.dir();
    let log = dir.path("small/log");
    fs::rename(&log, dir.path("small/log.1")).map_err(|e| e.to_string())?;
    let said = dir.read("small/log.1");
    if let Some(line) = said.lines().find(|line| line.contains("panicked")) {
        return Err(format!("it says: {line}"));
    }
    life.server.signal(Signal::SIGUSR1);
    wait_for(|| log.exists().then_some(())).ok_or("the log is not opened anew".to_owned())
}

fn fill(life: &mut Life<'_>, random: &mut Random) -> Done {
    let path = life.server.dir().path("small/filler");
    if path.exists() {
        return fs::remove_file(&path).map_err(|e| e.to_string());
    }
    let mut file = File::create(&path).unwrap();
    let block = [b'x'; 4096];
    while file.write_all(&block).is_ok() {}
    for _ in 0..random.below(3) {
        signal(life, Signal::SIGHUP)?;
        thread::sleep(random.millis(100));
    }
    Ok(())
}

/// Writes a variable as a whole: files that begin with a dot are not read.
fn set(life: &mut Life<'_>, name: &str, value: &[u8]) -> Done {
    bring_back(life);
    let directory = life.server.dir().path("env");
    let hidden = directory.join(".new");
    fs::write(&hidden, value).map_err(|e| e.to_string())?;
    fs::rename(hidden, directory.join(name)).map_err(|e| e.to_string())
}

fn colour(life: &mut Life<'_>, random: &mut Random) -> Done {
    let colour = random.below(1_000_000);
    set(life, "COLOUR", format!("{colour}\n").as_bytes())?;
    restart(life, random)?;
    life.colour = Some(colour);
    Ok(())
}

/// The variables of which it is asked to make nothing, or a change for a while.
const PASSING: [&str; 6] = [
    "NUL",
    "A=B",
    "LONG",
    "KILL_OLD_DELAY",
    "ENABLE_AUTO_RESTART",
    "AUTO_RESTART_INTERVAL",
];

fn nonsense(life: &mut Life<'_>, random: &mut Random) -> Done {
    match random.below(4) {
        0 => set(life, "NUL", b"a\0b\n"),
        1 => set(life, "A=B", b"x\n"),
        2 => set(life, "LONG", &vec![b'x'; 200_000]),
        _ => set(life, "KILL_OLD_DELAY", b"soon\n"),
    }
}

fn settings(life: &mut Life<'_>, random: &mut Random) -> Done {
    match random.percent(50) {
        true => set(life, "KILL_OLD_DELAY", b"0.3\n"),
        false => {
            set(life, "AUTO_RESTART_INTERVAL", b"0.5\n")?;
            set(life, "ENABLE_AUTO_RESTART", b"1\n")
        }
    }
}

fn vanish(life: &mut Life<'_>, _: &mut Random) -> Done {
    if !bring_back(life) {
        let dir = life.server.dir();
        fs::rename(dir.path("env"), dir.path("away")).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The envdir; whether it was away.
fn bring_back(life: &Life<'_>) -> bool {
    let dir = life.server.dir();
    fs::rename(dir.path("away"), dir.path("env")).is_ok()
}

/// What would keep it from coming to rest.
pub(crate) fn take_back(life: &mut Life<'_>) -> Done {
    bring_back(life);
    let dir = life.server.dir();
    let files = PASSING.map(|name| format!("env/{name}"));
    for name in files.iter().map(String::as_str).chain(["small/filler"]) {
        let _ = fs::remove_file(dir.path(name)); // it need not be there
    }
    Ok(())
}

fn clients(life: &mut Life<'_>, random: &mut Random) -> Done {
    const MOST_HELD: usize = 20;
    let path = life.server.dir().path("control");
    let connect = || UnixStream::connect(&path).map_err(|e| format!("cannot connect: {e}"));
    match random.below(6) {
        0 => life.server.run(&["--status"], 0).map(drop),
        1 => life.server.run(&["--status", "--metrics"], 0).map(drop),
        // It may be thrown out before it has said all.
        2 => {
            let count = 1 + random.below(200_000);
            drop(connect()?.write_all(&random.bytes(count)));
            Ok(())
        }
        3 => {
            let mut half = connect()?;
            drop(half.write_all(b"{\"method\":\"org.serverstarter.Super"));
            if life.held.len() < MOST_HELD {
                life.held.push(half);
            }
            Ok(())
        }
        4 => {
            let all: Result<Vec<UnixStream>, String> = (0..60).map(|_| connect()).collect();
            all.map(drop)
        }
        // It goes before it has its answer.
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

fn freeze(life: &mut Life<'_>, random: &mut Random) -> Done {
    life.server.signal(Signal::SIGSTOP);
    for _ in 0..random.below(4) {
        let all = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
        life.server.signal(random.pick(&all).unwrap());
    }
    thread::sleep(random.millis(200));
    life.server.signal(Signal::SIGCONT);
    Ok(())
}
