//! What this binary is when it is started again by itself: the workers, and the floor.

mod drains;
mod serves;

pub(crate) use drains::drains;
pub(crate) use serves::{START, serves};

use std::env;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::{self, Command, ExitCode};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{MsgFlags, accept, send};

use crate::answer::Answer;
use crate::proc;

/// What kind of worker a candidate runs.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Answers each connection with a line, and is gone at TERM: [`worker`].
    Answers,
    /// Answers requests by HTTP, and takes a while to start: [`serves()`].
    Serves,
    /// Answers each connection with a line, and drains until its clients have gone: [`drains()`].
    Drains,
}

impl Role {
    /// The first argument of such a worker; the second is the token.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Role::Answers => "--worker",
            Role::Serves => "--serves",
            Role::Drains => "--drains",
        }
    }
}

/// `figures --worker TOKEN [--says-ready]`: answers on the first socket until a signal ends it; TERM does so at once.
pub(crate) fn worker(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let token = arguments
        .next()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let ready = prepare(token).and_then(|(listener, mut answer)| {
        if arguments.next().is_some() {
            answer.ready_at = say_ready()?;
        }
        Ok((listener, answer))
    });
    match ready {
        Ok((listener, answer)) => serve(listener, &answer),
        Err(reason) => {
            eprintln!("figures --worker: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(token: String) -> Result<(RawFd, Answer), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let ports = variable("SERVER_STARTER_PORT")?;
    let generation = variable("SERVER_STARTER_GENERATION")?;
    let first = ports.split(';').next().unwrap_or_default();
    let (key, fd) = first
        .split_once('=')
        .ok_or_else(|| format!("SERVER_STARTER_PORT: {first:?} has no descriptor"))?;
    let answer = Answer {
        token,
        generation: generation
            .parse()
            .map_err(|_| format!("SERVER_STARTER_GENERATION: {generation:?}"))?,
        pid: process::id() as i32,
        sockets: ports.split(';').count(),
        key: key.to_owned(),
        ready_at: 0,
    };
    let fd = fd
        .parse()
        .map_err(|_| format!("SERVER_STARTER_PORT: {fd:?} is no descriptor"))?;
    Ok((fd, answer))
}

/// Says READY=1, sd_notify(3), and when.
fn say_ready() -> Result<u64, String> {
    let wrong = |error| format!("NOTIFY_SOCKET: {error}");
    let path = env::var_os("NOTIFY_SOCKET").ok_or("NOTIFY_SOCKET is not set")?;
    let socket = UnixDatagram::unbound().map_err(wrong)?;
    let now = proc::monotonic();
    socket.send_to(b"READY=1", path).map_err(wrong)?;
    Ok(now)
}

fn serve(listener: RawFd, answer: &Answer) -> ExitCode {
    let line = format!("{answer}\n");
    loop {
        match accept(listener) {
            // Never closed: that the kernel does it at the worker's end is how the client sees that end.
            Ok(connection) => {
                let _ = send(connection, line.as_bytes(), MsgFlags::MSG_NOSIGNAL);
            }
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(error) => {
                eprintln!("figures --worker: accept on descriptor {listener}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// `figures --floor TOKEN HOST:PORT…`: the least a supervisor can do, once: bind, listen, start the worker, wait for it.
pub(crate) fn floor(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match start_and_wait(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("figures --floor: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn start_and_wait(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let token = arguments.next().ok_or("token missing")?;
    let mut listeners = Vec::new();
    let mut entries = Vec::new();
    for address in arguments {
        let address = address.to_string_lossy();
        let listener = if address.contains(':') {
            TcpListener::bind(&*address)
        } else {
            TcpListener::bind(format!("0.0.0.0:{address}"))
        };
        let listener = listener.map_err(|error| format!("{address}: {error}"))?;
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|error| format!("{address}: {error}"))?;
        entries.push(format!("{address}={}", listener.as_raw_fd()));
        listeners.push(listener);
    }
    let exe = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    Command::new(exe)
        .arg("--worker")
        .arg(token)
        .env("SERVER_STARTER_PORT", entries.join(";"))
        .env("SERVER_STARTER_GENERATION", "1")
        .status()
        .map_err(|error| format!("worker: {error}"))?;
    Ok(())
}
