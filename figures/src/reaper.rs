//! Sees to it that nothing stays behind, however the run ends.
//!
//! The measuring happens in a child. This process is its reaper: descendants that lose their parent become
//! this one's children (`PR_SET_CHILD_SUBREAPER`), so when the measuring is over, was interrupted, crashed or
//! took too long, everything it started can be found among the children, killed, and waited for. The
//! temporary directory is this process's, too.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

use crate::limits;
use crate::options::Options;
use crate::proc;

/// First argument of the child that measures; the others are those of this process.
pub(crate) const MEASURE: &str = "--measure";

/// Descriptors a candidate needs for 10,000 ports and everything else.
const DESCRIPTORS: u64 = 10_500;

const INTERESTING: [Signal; 6] = [
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Runs the measuring child with these arguments; its exit code, or a failure when it left something behind.
pub(crate) fn guard(options: &Options, arguments: &[OsString]) -> ExitCode {
    match run_guarded(options, arguments) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("figures: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run_guarded(options: &Options, arguments: &[OsString]) -> Result<ExitCode, String> {
    set_child_subreaper(true).map_err(|error| format!("PR_SET_CHILD_SUBREAPER: {error}"))?;
    let signals: SigSet = INTERESTING.into_iter().collect();
    signals
        .thread_block()
        .map_err(|error| format!("blocking signals: {error}"))?;
    let directory = tempfile::Builder::new().prefix("figures-").tempdir();
    let directory = directory.map_err(|error| format!("temporary directory: {error}"))?;

    // A lower hard limit means fewer ports.
    limits::raise(DESCRIPTORS)?;
    let exe = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new(exe);
    command
        .arg(MEASURE)
        .args(arguments)
        .env("TMPDIR", directory.path());
    let child = command
        .spawn()
        .map_err(|error| format!("starting the measurement: {error}"))?;
    alarm::set(u32::try_from(options.time_limit().as_secs()).unwrap_or(u32::MAX));
    let ending = wait(Pid::from_raw(child.id() as i32), &signals);
    let left = sweep();
    let leftovers = listing(directory.path());
    directory
        .close()
        .map_err(|error| format!("temporary directory: {error}"))?;

    match ending? {
        Ending::Signal(Signal::SIGALRM) => Err(format!(
            "not done after {:?}, ended by force",
            options.time_limit()
        )),
        Ending::Signal(signal) => Err(format!("ended by {signal}")),
        Ending::Exit(status) if !status.success() => {
            if let Some(signal) = status.signal() {
                eprintln!("figures: the measurement was killed by signal {signal}");
            }
            Ok(ExitCode::from(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(1),
            ))
        }
        Ending::Exit(_) if !left.is_empty() => {
            Err(format!("left behind, killed now: {}", left.join(", ")))
        }
        Ending::Exit(_) if !leftovers.is_empty() => Err(format!(
            "left behind, removed now: {}",
            leftovers.join(", ")
        )),
        Ending::Exit(_) => Ok(ExitCode::SUCCESS),
    }
}

enum Ending {
    Exit(ExitStatus),
    Signal(Signal),
}

/// Waits for the child's end or for a signal that ends the run, and reaps orphans meanwhile.
fn wait(child: Pid, signals: &SigSet) -> Result<Ending, String> {
    loop {
        match signals
            .wait()
            .map_err(|error| format!("waiting for signals: {error}"))?
        {
            Signal::SIGCHLD => {}
            signal => return Ok(Ending::Signal(signal)),
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                    return Ok(Ending::Exit(ExitStatus::from_raw(code << 8)));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    return Ok(Ending::Exit(ExitStatus::from_raw(signal as i32)));
                }
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(format!("waiting for the measurement: {error}")),
            }
        }
    }
}

/// Kills what is left of the family until there is no one to wait for; the names of those that had to be killed.
fn sweep() -> Vec<String> {
    let started = Instant::now();
    let mut names = Vec::new();
    while started.elapsed() < Duration::from_secs(10) {
        for pid in proc::children(process::id()) {
            let name = format!("{pid} ({})", proc::command_line(pid));
            // Dead and not yet reaped: no command line any more.
            if !name.ends_with("()") && !names.contains(&name) {
                names.push(name);
            }
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD) {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    names
}

/// What lies in the directory.
fn listing(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().display().to_string())
        .collect()
}
