//! How a supervisor is started: options, worker, environment, a directory of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::output::append_to;
use crate::program::clear_settings;
use crate::sockets::free_port;
use crate::workers::PRELUDE;
use crate::{Output, Program, Running, Supervisor, TestDir, wait_for};

/// A supervisor to be started. In its options `DIR` stands for the test's directory, and `PORT`, `PORT2` and `PORT3`
/// for free ports.
pub struct SupervisorBuilder {
    pub(crate) dir: TestDir,
    pub(crate) program: Program,
    options: Vec<String>,
    worker: Vec<OsString>,
    /// Whether the worker appends a line to `$OUT` when it is up.
    pub(crate) worker_reports_up: bool,
    clear_environment: bool,
    environment: Vec<(String, OsString)>,
    before: Vec<String>,
    stdin: Option<File>,
    /// The file of the test's directory with the supervisor's log lines.
    pub(crate) log: &'static str,
    defaults: bool,
    pub(crate) is_process_1: bool,
    pub(crate) ports: Vec<u16>,
}

const PORTS: [&str; 3] = ["PORT3", "PORT2", "PORT"];

/// How many times a start is tried when another program has taken the port.
const ATTEMPTS: usize = 5;

impl SupervisorBuilder {
    /// With `--interval=0`, `--status-file=DIR/status` and these options.
    pub fn new(program: Program, options: &[&str]) -> Self {
        Self {
            defaults: true,
            ..Self::bare(program, options)
        }
    }

    /// With these options only.
    pub fn bare(program: Program, options: &[&str]) -> Self {
        let dir = TestDir::new("start_server-test");
        let fifo = dir.path("never"); // for the shell function `rest`
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Self {
            dir,
            program,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            worker: Vec::new(),
            worker_reports_up: false,
            clear_environment: false,
            environment: Vec::new(),
            before: Vec::new(),
            stdin: None,
            log: "stderr",
            defaults: false,
            is_process_1: false,
            ports: Vec::new(),
        }
    }

    /// The worker is a shell script, which may use the functions of [`workers`](crate::workers).
    pub fn sh(self, script: &str) -> Self {
        let script = format!("{PRELUDE}{script}");
        self.reports_up()
            .program(["--", "/bin/sh", "-c", &script, "worker"])
    }

    /// What follows the options: a `--` if there is to be one, the worker and its arguments.
    pub fn program<S: Into<OsString>>(mut self, program: impl IntoIterator<Item = S>) -> Self {
        self.worker.extend(program.into_iter().map(Into::into));
        self
    }

    /// The worker, which is not a shell script, appends a line to `$OUT` as the shell function `up` does.
    pub fn reports_up(mut self) -> Self {
        self.worker_reports_up = true;
        self
    }

    /// Sets an environment variable of the supervisor.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Of the environment of the test, the supervisor inherits `PATH` only.
    pub fn clear_env(mut self) -> Self {
        self.clear_environment = true;
        self
    }

    /// A shell command (umask, limits…) that runs first, in the process that becomes the supervisor.
    pub fn before(mut self, command: &str) -> Self {
        self.before.push(command.to_owned());
        self
    }

    /// The supervisor's standard input.
    pub fn stdin(mut self, file: impl Into<std::os::fd::OwnedFd>) -> Self {
        self.stdin = Some(File::from(file.into()));
        self
    }

    /// The supervisor's log lines are in this file of the directory, not on its standard error.
    pub fn log(mut self, name: &'static str) -> Self {
        self.log = name;
        self
    }

    /// A file that exists before the start, and the directories above it.
    pub fn file(self, name: &str, content: &str) -> Self {
        self.dir.write(name, content);
        self
    }

    /// A program that exists before the start. A shell writes it, see [`TestDir::shell`].
    pub fn executable(self, name: &str, content: &str) -> Self {
        let text = format!("{name}.text");
        let copy = format!("cp {text} {name}; chmod +x {name}; rm {text}");
        self.file(&text, content).before(&copy)
    }

    /// The supervisor is `DIR/start_server`, a copy of the program under test. A shell writes it, see
    /// [`TestDir::shell`].
    pub fn copied(self) -> Self {
        self.before(
            "cp \"$1\" start_server; chmod 755 start_server; shift; set -- ./start_server \"$@\"",
        )
    }

    /// The test's directory.
    pub fn dir(&self) -> &TestDir {
        &self.dir
    }

    /// The path of a file in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Starts the supervisor and returns at once.
    pub fn spawn(mut self) -> Supervisor {
        let running = self.launch();
        Supervisor::new(self, Some(running))
    }

    /// Starts the supervisor and waits until the first generation is ready. If another program has taken the port, it
    /// is started again with another one.
    #[track_caller]
    pub fn start(mut self) -> Supervisor {
        for _ in 0..ATTEMPTS {
            let mut running = self.launch();
            let in_use = wait_for(|| {
                if running.exited().is_some() {
                    return Some(running.stderr().contains("in use"));
                }
                self.is_ready().then_some(false)
            });
            if in_use == Some(true) && !self.ports.is_empty() {
                continue;
            }
            let supervisor = Supervisor::new(self, Some(running));
            supervisor.eventually("the first generation is ready", || supervisor.is_ready());
            return supervisor;
        }
        panic!("no free port in {ATTEMPTS} attempts");
    }

    pub(crate) fn is_ready(&self) -> bool {
        let ready = !self.defaults || !self.dir.read("status").is_empty();
        ready && (!self.worker_reports_up || self.path("out").exists())
    }

    /// Runs the program until it ends by itself.
    #[track_caller]
    pub fn run(mut self) -> Output {
        let mut output = self.launch().wait();
        output.dir = Some(self.dir);
        output
    }

    /// Runs the program until the process that was started exits with status 0, and finds the daemon by its pid file
    /// `DIR/pid`.
    #[track_caller]
    pub fn daemonize(mut self) -> (Output, Supervisor) {
        let caller = self.launch().wait();
        let supervisor = Supervisor::new(self, None);
        caller.expect(0, &[]);
        (caller, supervisor)
    }

    fn launch(&mut self) -> Running {
        self.ports = PORTS.map(|_| free_port()).to_vec();
        // a start that found its port in use may have left these
        let _ = fs::remove_file(self.path("stderr"));
        let _ = fs::remove_file(self.path("out"));
        self.relaunch()
    }

    /// Starts the supervisor, for ports that are chosen already.
    pub(crate) fn relaunch(&self) -> Running {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.defaults {
            arguments.push("--interval=0".into());
            arguments.push(format!("--status-file={}", self.path("status").display()).into());
        }
        let options = self.options.iter().map(|option| self.filled_in(option));
        arguments.extend(options.map(OsString::from));
        arguments.extend(self.worker.iter().cloned());
        let mut command = self.command();
        command.args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let stdin = self.stdin.as_ref();
        command.stdin(stdin.map_or_else(Stdio::null, |file| file.try_clone().unwrap().into()));
        start(command, &self.dir, "")
    }

    /// The command that runs the program, with its environment and without arguments.
    fn command(&self) -> Command {
        let program = self.program.path();
        let mut command = if self.before.is_empty() {
            Command::new(program)
        } else {
            let script = format!("{}\nexec \"$@\"", self.before.join("\n"));
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &script, "sh"]).arg(program);
            shell
        };
        prepare(&mut command, &self.dir, self.clear_environment);
        command
    }

    /// Starts the program once more in the same directory: `--stop`, a second supervisor…
    pub(crate) fn launch_again(&self, options: &[&str]) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(self.program.path());
        prepare(&mut command, &self.dir, self.clear_environment);
        command.args(options.iter().map(|option| self.filled_in(option)));
        command.stdin(Stdio::null());
        start(command, &self.dir, &format!(".{number}"))
    }

    /// The option with the directory and the ports that it names.
    fn filled_in(&self, option: &str) -> String {
        let mut filled = option.replace("DIR", self.dir.text());
        for (name, port) in PORTS.iter().zip(self.ports.iter().rev()) {
            filled = filled.replace(name, &port.to_string());
        }
        filled
    }
}

/// Sets the command's environment and working directory.
fn prepare(command: &mut Command, dir: &TestDir, clear: bool) {
    if clear {
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    } else {
        clear_settings(command);
    }
    let (name, value) = dir.mark();
    command.env(name, value).env("LC_ALL", "C");
    command
        .env("OUT", dir.path("out"))
        .env("TMPDIR", dir.root());
    command.current_dir(dir.root());
}

/// Starts the command; its output goes to the files `stdout` and `stderr`, with this suffix.
fn start(mut command: Command, dir: &TestDir, suffix: &str) -> Running {
    let path = |name: &str| dir.path(&format!("{name}{suffix}"));
    let (stdout, stderr) = (path("stdout"), path("stderr"));
    command
        .stdout(append_to(&stdout))
        .stderr(append_to(&stderr));
    Running::start(&mut command, stdout, stderr)
}
