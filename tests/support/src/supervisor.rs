//! A running supervisor: its lines, its workers, its files, its end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use crate::pid_namespace::process_1_of;
use crate::{Output, Process, Program, Running, SupervisorBuilder, TestDir, expect, wait_for};

/// A running supervisor. When it is dropped, the supervisor and all processes it started are killed; the report of a
/// failing test has its output, its files and its processes.
pub struct Supervisor {
    /// `None` for a daemon, which is not a child of the test.
    pub(crate) running: Mutex<Option<Running>>,
    pub(crate) process: Process,
    pub(crate) exited: Mutex<Option<ExitStatus>>,
    pub(crate) builder: SupervisorBuilder,
    /// The first line after those that were waited for.
    pub(crate) next_line: AtomicUsize,
}

impl Supervisor {
    pub(crate) fn new(builder: SupervisorBuilder, running: Option<Running>) -> Self {
        let process = match &running {
            Some(running) if builder.is_process_1 => process_1_of(running.process()),
            Some(running) => Some(running.process()),
            None => daemon_of(&builder.dir),
        };
        Self {
            running: Mutex::new(running),
            process: process.unwrap_or(Process(0)),
            exited: Mutex::new(None),
            builder,
            next_line: AtomicUsize::new(0),
        }
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// The program under test.
    pub fn program(&self) -> &Program {
        &self.builder.program
    }

    /// The test's directory.
    pub fn dir(&self) -> &TestDir {
        &self.builder.dir
    }

    /// The path of a file in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.builder.dir.path(name)
    }

    /// The content of a file in the test's directory; empty if there is no such file.
    pub fn read(&self, name: &str) -> String {
        self.dir().read(name)
    }

    /// Writes a file in the test's directory.
    pub fn write(&self, name: &str, content: &str) {
        self.dir().write(name, content);
    }

    /// Waits for a reader of the FIFO and writes a line to it.
    #[track_caller]
    pub fn open_gate(&self, name: &str) {
        self.eventually(&format!("{name} has a reader"), || {
            self.open_gate_if_read(name)
        });
    }

    /// Writes a line to a FIFO if it has a reader; whether it has.
    pub fn open_gate_if_read(&self, name: &str) -> bool {
        let mut gate = File::options();
        gate.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let Ok(mut gate) = gate.open(self.path(name)) else {
            return false;
        };
        gate.write_all(b"go\n").unwrap();
        true
    }

    /// The port that `PORT` (0), `PORT2` (1) or `PORT3` (2) stands for.
    pub fn port(&self, index: usize) -> u16 {
        self.builder.ports[index]
    }

    /// The workers that have reported that they are up: generation and process.
    pub fn ups(&self) -> Vec<(u32, Process)> {
        let out = self.read("out");
        let complete = out.rfind('\n').map_or("", |end| &out[..end]);
        complete.lines().map(|line| parse_pair(line, ' ')).collect()
    }

    /// Waits until the worker of this generation reports that it is up.
    #[track_caller]
    pub fn wait_up(&self, generation: u32) -> Process {
        let up = || {
            self.ups()
                .into_iter()
                .find(|up| up.0 == generation)
                .map(|up| up.1)
        };
        expect(&format!("generation {generation} is up"), up)
    }

    /// The status file: generations and their workers; empty if there is no file.
    pub fn status(&self) -> Vec<(u32, Process)> {
        self.read("status")
            .lines()
            .map(|line| parse_pair(line, ':'))
            .collect()
    }

    /// Waits until the status file lists exactly these generations and their workers are up; returns the workers.
    #[track_caller]
    pub fn wait_generations(&self, generations: &[u32]) -> Vec<Process> {
        self.eventually(
            &format!("the status file lists generations {generations:?}"),
            || {
                self.status()
                    .iter()
                    .map(|entry| entry.0)
                    .eq(generations.iter().copied())
            },
        );
        if self.builder.worker_reports_up {
            for &generation in generations {
                self.wait_up(generation);
            }
        }
        self.status().into_iter().map(|entry| entry.1).collect()
    }

    /// Waits until the status file lists only this generation and its worker is up; returns the worker.
    #[track_caller]
    pub fn wait_generation(&self, generation: u32) -> Process {
        self.wait_generations(&[generation])[0]
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.exited().is_some() || self.builder.is_ready()
    }

    /// All processes of this test except the supervisor.
    pub fn survivors(&self) -> Vec<Process> {
        let mut processes = self.dir().processes();
        processes.retain(|process| *process != self.process);
        processes
    }

    /// Sends a signal when all processes are idle, see [`Self::settle`]. Lines are waited for from here on.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.settle();
        let seen = self.lines().len();
        self.next_line.store(seen, Ordering::Relaxed);
        self.process.signal(signal);
    }

    /// Sends HUP: reload.
    #[track_caller]
    pub fn hup(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends TERM: stop.
    #[track_caller]
    pub fn term(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until the supervisor sleeps, and each of its workers sleeps after its exec, or is dead. An earlier signal
    /// may be lost: before exec it would run the supervisor's handler, and a shell may be on the way to its `read`.
    #[track_caller]
    pub fn settle(&self) {
        self.eventually("all processes are idle", || {
            let own = self.process.executable();
            let is_idle = |child: Process| match child.state() {
                Some('S') => own.is_none() || child.executable() != own,
                state => matches!(state, None | Some('T' | 'Z' | 'X')),
            };
            self.exited().is_some()
                || (self.process.state() == Some('S')
                    && self.process.children().into_iter().all(is_idle))
        });
    }

    /// Waits until the supervisor sleeps; its workers may be busy.
    #[track_caller]
    pub fn wait_asleep(&self) {
        self.eventually("the supervisor sleeps", || {
            self.exited().is_some() || self.process.state() == Some('S')
        });
    }

    /// Starts the program once more in the same directory: `--stop`, a second supervisor…
    pub fn spawn_command(&self, options: &[&str]) -> Running {
        self.builder.launch_again(options)
    }

    /// Runs the program once more in the same directory until it ends.
    #[track_caller]
    pub fn command(&self, options: &[&str]) -> Output {
        self.settle();
        self.spawn_command(options).wait()
    }

    /// How the supervisor ended; `None` if it still runs. The status of a daemon is unknown and shown as 0.
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut exited = self.exited.lock().unwrap();
        if exited.is_none() {
            *exited = match &mut *self.running.lock().unwrap() {
                Some(running) => running.exited(),
                None => (!self.process.is_alive()).then(ExitStatus::default),
            };
        }
        *exited
    }

    /// Waits until the supervisor ends.
    #[track_caller]
    pub fn wait_exit(&self) -> ExitStatus {
        expect("the supervisor ends", || self.exited())
    }

    /// Waits until the supervisor exits with this status and no process is left.
    #[track_caller]
    pub fn expect_exit(&self, code: i32) {
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(code), "wrong exit status: {status}");
        // The workers have ended; a log command, or the process between a daemon and its caller, may end later.
        self.eventually("no process is left", || self.survivors().is_empty());
    }

    /// Sends TERM and waits until the supervisor exits with status 0 and no process is left.
    #[track_caller]
    pub fn stop(&self) {
        self.term();
        self.expect_exit(0);
    }

    /// Waits until `holds` returns true. A panic names the condition.
    #[track_caller]
    pub fn eventually(&self, condition: &str, holds: impl FnMut() -> bool) {
        crate::eventually(condition, holds);
    }

    fn report(&self) -> String {
        let running = self.running.lock().unwrap();
        let command = running
            .as_ref()
            .map_or("a daemon", |running| &running.command);
        let exited = *self.exited.lock().unwrap();
        let end = exited.map_or("running".to_owned(), |status| status.to_string());
        let mut report = format!("=== {command}\n=== supervisor {}: {end}\n", self.process);
        let log = (self.builder.log != "stderr").then_some(self.builder.log);
        for name in ["stderr", "stdout", "status", "out", "pid"]
            .into_iter()
            .chain(log)
        {
            let text = self.read(name);
            if !text.is_empty() {
                report += &format!("--- {name}:\n{}\n", text.trim_end());
            }
        }
        for process in self.survivors() {
            let command = process.read("cmdline").replace('\0', " ");
            report += &format!(
                "--- process {process}, state {:?}: {command}\n",
                process.state()
            );
        }
        report
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        // first the supervisor, so that it starts no more processes; then `TestDir` kills what is left
        let running = self.running.get_mut();
        running.unwrap_or_else(|e| e.into_inner()).take();
    }
}

/// Waits for the daemon that writes `DIR/pid`.
pub(crate) fn daemon_of(dir: &TestDir) -> Option<Process> {
    wait_for(|| {
        let text = dir.read("pid");
        text.strip_suffix('\n')?.parse().ok().map(Process)
    })
}

/// `GENERATION:PID`, and nothing else.
fn parse_pair(line: &str, separator: char) -> (u32, Process) {
    let pair = line
        .split_once(separator)
        .and_then(|(a, b)| Some((a.parse().ok()?, Process(b.parse().ok()?))));
    pair.unwrap_or_else(|| panic!("not GENERATION{separator}PID: {line:?}"))
}
