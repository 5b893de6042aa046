//! A running supervisor: its lines, its workers, its files, its end.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use super::namespace::process_1_of;
use super::setup::{Scene, fill_in, fresh_suffix, launch};
use super::{BOUND, Client, Finished, Process, Running, Setup, look_for};

/// The supervisor of one test. Dropped: it and all it started are killed, and a failing test shows what was seen.
pub(crate) struct Supervisor {
    /// `None` for a daemon, which is nobody's child.
    running: RefCell<Option<Running>>,
    pid: Process,
    exited: Cell<Option<ExitStatus>>,
    pub(super) setup: Setup,
    /// How many lines have been waited for.
    pub(super) cursor: Cell<usize>,
}

impl Supervisor {
    /// The usual start: these options, a worker made of shell script; waits until it is ready.
    #[track_caller]
    pub(crate) fn start(options: &[&str], worker: &str) -> Self {
        Setup::new(options).sh(worker).start()
    }

    pub(super) fn new(setup: Setup, running: Option<Running>) -> Self {
        let pid = match &running {
            Some(running) if setup.is_process_1 => process_1_of(running.process()),
            Some(running) => Some(running.process()),
            None => daemon_of(&setup.scene),
        };
        let pid = pid.unwrap_or(Process(0));
        Self {
            running: RefCell::new(running),
            pid,
            exited: Cell::new(None),
            setup,
            cursor: Cell::new(0),
        }
    }

    pub(crate) fn process(&self) -> Process {
        self.pid
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.scene.path(name)
    }

    /// A file of the test's directory; empty when there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Writes a line to a FIFO once somebody reads it.
    #[track_caller]
    pub(crate) fn open_gate(&self, name: &str) {
        let opened = look_for(|| self.open_gate_if_anybody(name).then_some(()));
        opened.unwrap_or_else(|| panic!("not within {BOUND:?}: a reader of {name}"));
    }

    /// Writes a line to a FIFO if somebody reads it.
    pub(crate) fn open_gate_if_anybody(&self, name: &str) -> bool {
        let mut gate = File::options();
        gate.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let Ok(mut gate) = gate.open(self.path(name)) else {
            return false;
        };
        gate.write_all(b"go\n").unwrap();
        true
    }

    /// The port that `PORT` (0), `PORT2` (1), `PORT3` (2) stood for.
    pub(crate) fn port(&self, index: usize) -> u16 {
        self.setup.ports[index]
    }

    /// A client of `127.0.0.1:PORT`.
    pub(crate) fn client(&self) -> Client {
        Client::of_port(self.port(0))
    }

    /// What the workers said when they came up: generation and process.
    pub(crate) fn ups(&self) -> Vec<(u32, Process)> {
        let out = self.read("out");
        let complete = out.rfind('\n').map_or("", |end| &out[..end]);
        complete.lines().map(|line| parse_pair(line, ' ')).collect()
    }

    /// Waits until the worker of this generation says it is up.
    #[track_caller]
    pub(crate) fn wait_up(&self, generation: u32) -> Process {
        let up = || {
            self.ups()
                .into_iter()
                .find(|up| up.0 == generation)
                .map(|up| up.1)
        };
        look_for(up).unwrap_or_else(|| panic!("not within {BOUND:?}: generation {generation} up"))
    }

    /// The status file: generations and their workers; empty when there is no file.
    pub(crate) fn status(&self) -> Vec<(u32, Process)> {
        self.read("status")
            .lines()
            .map(|line| parse_pair(line, ':'))
            .collect()
    }

    /// Waits until the status file lists exactly these generations and their workers are up; their processes.
    #[track_caller]
    pub(crate) fn wait_generations(&self, generations: &[u32]) -> Vec<Process> {
        self.eventually(
            &format!("the status file lists generations {generations:?}"),
            || {
                self.status()
                    .iter()
                    .map(|entry| entry.0)
                    .eq(generations.iter().copied())
            },
        );
        if self.setup.is_up_when_it_says_so {
            for &generation in generations {
                self.wait_up(generation);
            }
        }
        self.status().into_iter().map(|entry| entry.1).collect()
    }

    /// The worker of the only generation, which is this one.
    #[track_caller]
    pub(crate) fn wait_generation(&self, generation: u32) -> Process {
        self.wait_generations(&[generation])[0]
    }

    pub(super) fn is_ready(&self) -> bool {
        self.exited().is_some() || self.setup.is_ready()
    }

    /// What was started in this test and lives, the supervisor apart.
    pub(crate) fn survivors(&self) -> Vec<Process> {
        self.setup
            .scene
            .survivors()
            .into_iter()
            .filter(|&process| process != self.pid)
            .collect()
    }

    /// Sends a signal when nobody is busy, see [`Self::settle`]. Lines waited for next are those that follow.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self.settle();
        self.cursor.set(self.lines().len());
        self.pid.signal(signal);
    }

    #[track_caller]
    pub(crate) fn hup(&self) {
        self.signal(Signal::SIGHUP);
    }

    #[track_caller]
    pub(crate) fn term(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until it sleeps, and each of its workers too, past its exec (or is dead). A signal that comes earlier may be
    /// lost: on the way to exec in a handler of the supervisor's, in a shell on the way to its `read`.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.eventually("nobody is busy", || {
            let own = self.pid.executable();
            let rests = |child: Process| match child.state() {
                Some('S') => own.is_none() || child.executable() != own,
                state => matches!(state, None | Some('T' | 'Z' | 'X')),
            };
            self.exited().is_some()
                || (self.pid.state() == Some('S') && self.pid.children().into_iter().all(rests))
        });
    }

    /// Waits until it sleeps, its workers being as busy as they like.
    #[track_caller]
    pub(crate) fn wait_asleep(&self) {
        self.eventually("it sleeps", || {
            self.exited().is_some() || self.pid.state() == Some('S')
        });
    }

    /// Starts the program under test once more, in the same directory: `--stop`, a second supervisor…
    pub(crate) fn spawn_command(&self, options: &[&str]) -> Running {
        let scene = &self.setup.scene;
        let fill = |option: &&str| OsString::from(fill_in(option, scene, &self.setup.ports));
        let arguments: Vec<OsString> = options.iter().map(fill).collect();
        launch(scene, &arguments, &[], &[], None, &fresh_suffix())
    }

    /// Runs the program under test once more, in the same directory, to its end.
    #[track_caller]
    pub(crate) fn command(&self, options: &[&str]) -> Finished {
        self.settle();
        self.spawn_command(options).wait()
    }

    /// How it ended, if it has. For a daemon: whether it has, its status being unknown, as if it were 0.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        if self.exited.get().is_none() {
            let ended = match &mut *self.running.borrow_mut() {
                Some(running) => running.exited(),
                None => (!self.pid.is_alive()).then(ExitStatus::default),
            };
            self.exited.set(ended);
        }
        self.exited.get()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&self) -> ExitStatus {
        look_for(|| self.exited()).unwrap_or_else(|| panic!("not within {BOUND:?}: its end"))
    }

    /// Waits for its end, which must be this exit status, and leave no worker.
    #[track_caller]
    pub(crate) fn expect_exit(&self, code: i32) {
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(code), "wrong end: {status}");
        // it has waited for its workers; a log command, or the process between a daemon and its caller, may be later
        self.eventually("nothing is left behind", || self.survivors().is_empty());
    }

    /// TERM, and it must exit 0 and leave no worker.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.term();
        self.expect_exit(0);
    }

    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, holds: impl FnMut() -> bool) {
        super::eventually(what, holds);
    }

    fn report(&self) -> String {
        let running = self.running.borrow();
        let command = running
            .as_ref()
            .map_or("a daemon", |running| &running.command);
        let end = self
            .exited
            .get()
            .map_or("running".to_owned(), |status| status.to_string());
        let mut report = format!("=== {command}\n=== supervisor {}: {end}\n", self.pid);
        let log = (self.setup.log != "stderr").then_some(self.setup.log);
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
        // the supervisor first (by `Running`), so that it starts no more; then, by the scene, whatever is left
        self.running.borrow_mut().take();
    }
}

/// The daemon that wrote `DIR/pid`.
fn daemon_of(scene: &Scene) -> Option<Process> {
    look_for(|| {
        let text = std::fs::read_to_string(scene.path("pid")).ok()?;
        text.strip_suffix('\n')?.parse().ok().map(Process)
    })
}

/// `GENERATION:PID`, to the letter.
fn parse_pair(line: &str, separator: char) -> (u32, Process) {
    let pair = line
        .split_once(separator)
        .and_then(|(a, b)| Some((a.parse().ok()?, Process(b.parse().ok()?))));
    pair.unwrap_or_else(|| panic!("not GENERATION{separator}PID: {line:?}"))
}
