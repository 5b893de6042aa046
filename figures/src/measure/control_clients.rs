//! What many clients of the control socket cost a reload.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use super::{Comparison, announce, milliseconds};
use crate::candidate::{Candidate, Setup, Wait};
use crate::proc;
use crate::report::{Section, Table, extreme, median};
use crate::running::{PATIENCE, Serving};

const ABOUT: &str = "\
Ours alone has a control socket. From HUP to the end of the old worker, which says READY=1 (`--ready=notify`);\n\
from connecting to it and calling `Reload` (`until` ready) to the\n\
verdict; and from exec to exit of `start_server --restart --until=ready`. A client that connects after\n\
others is accepted after them. At most 128 clients are served at a time; an idle one makes\n\
room for a new one.";

/// The number of other clients.
const MANY: usize = 1_000;

/// The number of clients that have connected before the call is made.
const MIDDLE: usize = 200;

const RELOAD: &[u8] =
    b"{\"method\":\"org.serverstarter.Supervisor.Reload\",\"parameters\":{\"until\":\"ready\"}}\0";
const STATUS: &[u8] = b"{\"method\":\"org.serverstarter.Supervisor.Status\"}\0";
/// The beginning of a call.
const HALF: &[u8] = b"{\"method\":";

/// The other clients.
#[derive(Clone, Copy)]
enum Clients {
    None,
    HalfOpen,
    Coming,
    ReadsNothing,
}

const SITUATIONS: [(Clients, &str); 4] = [
    (Clients::None, "no other client"),
    (
        Clients::HalfOpen,
        "1,000 have connected and said half a call",
    ),
    (Clients::Coming, "while 1,000 connect, one after the other"),
    (
        Clients::ReadsNothing,
        "one calls on and on and reads nothing",
    ),
];

/// How a reload is requested.
#[derive(Clone, Copy)]
enum Way {
    /// By a signal: until the old worker's end.
    Signal,
    /// By the control socket; how long it took to the verdict.
    Ask(fn(&Candidate, &Path) -> Result<Duration, String>),
}

const WAYS: [(Way, &str); 3] = [
    (Way::Signal, "HUP"),
    (Way::Ask(by_call), "call"),
    (Way::Ask(by_command), "--restart"),
];

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let rounds = bench.quick_or(3, 30);
    announce("reload beside many clients of the control socket", rounds);
    let (index, ours) = bench.ours()?;
    let path = env::temp_dir().join("control");
    let mut setup = Setup::new(bench.ports.of(index), Wait::Word);
    setup.control = Some(path.clone());
    let (mut serving, _) = Serving::start(ours, setup)?;
    serving.rest()?;

    let mut table = Table::new(&["ms", "", "n", "min", "median", "max"], 2);
    for (way, name) in WAYS {
        table.block();
        for (clients, words) in SITUATIONS {
            let mut samples = Vec::new();
            for round in 0..=rounds {
                let took = reload(&mut serving, ours, &path, clients, way)?;
                serving.rest()?;
                if round > 0 {
                    samples.push(milliseconds(took));
                }
            }
            table.row([
                name.to_owned(),
                words.to_owned(),
                samples.len().to_string(),
                format!("{:.2}", extreme(&samples, f64::min)),
                format!("{:.2}", median(&samples)),
                format!("{:.2}", extreme(&samples, f64::max)),
            ]);
        }
    }
    serving.stop()?;
    let mut section = Section::new("Many clients of the control socket", ABOUT);
    section.tables.push(table);
    Ok(section)
}

fn reload(
    serving: &mut Serving,
    ours: &Candidate,
    path: &Path,
    clients: Clients,
    way: Way,
) -> Result<Duration, String> {
    let pid = serving.pid();
    match way {
        Way::Signal => clients.around(path, pid, || Ok(serving.reload_at_once()?.gone)),
        Way::Ask(ask) => serving.replaced_by(|| clients.around(path, pid, || ask(ours, path))),
    }
}

impl Clients {
    /// Runs `action` while these clients are connected. They are disconnected afterwards.
    fn around<T>(
        self,
        path: &Path,
        pid: u32,
        action: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        // Those who are there before are settled.
        let settle = || proc::wait_for_rest(pid, Duration::from_millis(5));
        match self {
            Clients::None => action(),
            Clients::HalfOpen => {
                let clients = (0..MANY).map(|_| half_open(path));
                let _crowd = clients.collect::<Result<Vec<_>, _>>()?;
                settle()?;
                action()
            }
            Clients::Coming => while_coming(path, action),
            Clients::ReadsNothing => {
                let _client = deaf(path)?;
                settle()?;
                action()
            }
        }
    }
}

/// Runs `action` while clients connect.
fn while_coming<T>(path: &Path, action: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let path = PathBuf::from(path);
    let (arrived, middle) = sync_channel(1);
    let clients = thread::spawn(move || {
        let mut clients = Vec::new();
        for number in 0..MANY {
            clients.push(half_open(&path)?);
            if number == MIDDLE {
                let _ = arrived.send(());
            }
        }
        Ok(clients)
    });
    // Without a word it has failed, which it says when it is joined.
    let _ = middle.recv();
    let result = action();
    let clients: Result<Vec<_>, String> = clients.join().map_err(|_| "the clients panicked")?;
    clients.and(result)
}

fn connect(path: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(path).map_err(|error| format!("control socket: {error}"))
}

/// A client that never finishes what it has to say.
fn half_open(path: &Path) -> Result<UnixStream, String> {
    let mut stream = connect(path)?;
    match stream.write(HALF) {
        // Disconnected: the server needed the place.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(format!("half a call: {error}")),
        Ok(_) => {}
    }
    Ok(stream)
}

/// A client that asks as often as the kernel lets it, and reads no answer.
fn deaf(path: &Path) -> Result<UnixStream, String> {
    let mut stream = connect(path)?;
    stream
        .set_write_timeout(Some(Duration::from_millis(50)))
        .map_err(|error| format!("time limit: {error}"))?;
    loop {
        match stream.write(STATUS) {
            Ok(_) => {}
            // The supervisor has ended, or has disconnected this client.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(stream),
            Err(error) => return Err(format!("call without end: {error}")),
        }
    }
}

fn by_call(_: &Candidate, path: &Path) -> Result<Duration, String> {
    let started = Instant::now();
    let mut stream = connect(path)?;
    let wrong = |error| format!("call: {error}");
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    stream.write_all(RELOAD).map_err(wrong)?;
    let mut reply = Vec::new();
    BufReader::new(&stream)
        .read_until(0, &mut reply)
        .map_err(wrong)?;
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&reply);
    if text.contains("\"replaced\"") {
        Ok(took)
    } else {
        Err(format!("Reload was answered with {text:?}"))
    }
}

fn by_command(ours: &Candidate, path: &Path) -> Result<Duration, String> {
    let mut command = ours.program().ok_or("the floor has no commands")?;
    command
        .args(["--restart", "--until=ready", "--timeout=10", "--control"])
        .arg(path);
    command.stdin(Stdio::null());
    let started = Instant::now();
    let output = command
        .output()
        .map_err(|error| format!("--restart: {error}"))?;
    let took = started.elapsed();
    if output.status.success() {
        Ok(took)
    } else {
        let words = String::from_utf8_lossy(&output.stderr);
        Err(format!("--restart: {}: {words}", output.status))
    }
}
