//! How a supervisor is started: options, worker, environment, a directory of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::net::free_port;
use super::worker::PRELUDE;
use super::{Finished, Process, Running, Supervisor, look_for};

/// The directory of one test. Whatever was started in it is found by its environment and killed in the end.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        // canonical, to be compared with what /proc says
        let place = fs::canonicalize(std::env::temp_dir()).unwrap();
        let directory = tempfile::Builder::new()
            .prefix("blackbox")
            .tempdir_in(place)
            .unwrap();
        mkfifo(
            &directory.path().join("never"),
            Mode::S_IRUSR | Mode::S_IWUSR,
        )
        .unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The environment entry by which processes of this test are known.
    fn mark(&self) -> String {
        format!("OUT={}", self.path("out").display())
    }

    /// Everything started here that still lives.
    pub(crate) fn survivors(&self) -> Vec<Process> {
        Process::with_environment(&self.mark(), self.directory.path())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // again and again: what is killed may just have forked
        look_for(|| {
            let survivors = self.survivors();
            survivors
                .iter()
                .for_each(|process| process.signal(Signal::SIGKILL));
            survivors.is_empty().then_some(())
        });
    }
}

/// A supervisor to be. In the options, `DIR` stands for the test's directory, `PORT`, `PORT2` and `PORT3` for free ports.
pub(crate) struct Setup {
    pub(super) scene: Scene,
    options: Vec<String>,
    pub(super) program: Vec<OsString>,
    pub(super) is_up_when_it_says_so: bool,
    environment: Vec<(String, OsString)>,
    before: Vec<String>,
    stdin: Option<File>,
    pub(super) log: &'static str,
    defaults: bool,
    pub(super) is_process_1: bool,
    pub(super) ports: Vec<u16>,
}

const PORTS: [&str; 3] = ["PORT3", "PORT2", "PORT"];

impl Setup {
    /// With these options, after `--interval=0` and `--status-file=DIR/status`.
    pub(crate) fn new(options: &[&str]) -> Self {
        Self {
            scene: Scene::new(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            program: Vec::new(),
            is_up_when_it_says_so: false,
            environment: Vec::new(),
            before: Vec::new(),
            stdin: None,
            log: "stderr",
            defaults: true,
            is_process_1: false,
            ports: Vec::new(),
        }
    }

    /// With these options alone.
    pub(crate) fn bare(options: &[&str]) -> Self {
        Self {
            defaults: false,
            ..Self::new(options)
        }
    }

    /// The worker is a shell script, with `up` at hand.
    pub(crate) fn sh(mut self, script: &str) -> Self {
        self.is_up_when_it_says_so = true;
        self.program([
            "--",
            "/bin/sh",
            "-c",
            &format!("{PRELUDE}{script}"),
            "worker",
        ])
    }

    /// What follows the options, a `--` where there should be one.
    pub(crate) fn program<S: Into<OsString>>(
        mut self,
        program: impl IntoIterator<Item = S>,
    ) -> Self {
        self.program.extend(program.into_iter().map(Into::into));
        self
    }

    /// The worker, a program of its own, appends its line to `$OUT` as shell scripts do with `up`.
    pub(crate) fn says_up(mut self) -> Self {
        self.is_up_when_it_says_so = true;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A shell command that prepares the ground (umask, limits…) in the process that becomes the supervisor.
    pub(crate) fn before(mut self, command: &str) -> Self {
        self.before.push(command.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, file: File) -> Self {
        self.stdin = Some(file);
        self
    }

    /// The supervisor's lines are in this file of the directory, not on its standard error.
    pub(crate) fn log(mut self, name: &'static str) -> Self {
        self.log = name;
        self
    }

    /// A file that is there from the start, its directory too.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// A program that is there from the start. The shell writes it: as long as another thread's child may still hold a
    /// descriptor that we wrote to, "Text file busy" is the answer to an exec.
    pub(crate) fn executable(self, name: &str, content: &str) -> Self {
        let text = format!("{name}.text");
        let copy = format!("cp {text} {name}; chmod +x {name}; rm {text}");
        self.file(&text, content).before(&copy)
    }

    /// The supervisor is a copy of the program under test, `DIR/start_server`; again written by the shell.
    pub(crate) fn copied(self) -> Self {
        self.before(
            "cp \"$1\" start_server; chmod 755 start_server; shift; set -- ./start_server \"$@\"",
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scene.path(name)
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(mut self) -> Supervisor {
        let running = self.launch();
        Supervisor::new(self, Some(running))
    }

    /// Starts it and waits until the first generation is ready and in place. When somebody took its port, again with another.
    #[track_caller]
    pub(crate) fn start(mut self) -> Supervisor {
        for _ in 0..5 {
            let mut running = self.launch();
            let in_use = look_for(|| {
                if running.exited().is_some() {
                    return Some(running.stderr().contains("Address already in use"));
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
        panic!("no free port in five attempts");
    }

    pub(super) fn is_ready(&self) -> bool {
        let ready = !self.defaults || !fs::read(self.path("status")).unwrap_or_default().is_empty();
        ready && (!self.is_up_when_it_says_so || self.path("out").exists())
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run(mut self) -> Finished {
        let finished = self.launch().wait();
        Finished {
            scene: Some(self.scene),
            ..finished
        }
    }

    /// Runs it to the end of the process that was called, which must be 0, and finds the daemon by its pid file `DIR/pid`.
    #[track_caller]
    pub(crate) fn daemonize(mut self) -> (Finished, Supervisor) {
        let caller = self.launch().wait();
        let supervisor = Supervisor::new(self, None);
        caller.expect(0, &[]);
        (caller, supervisor)
    }

    fn launch(&mut self) -> Running {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.defaults {
            arguments.push("--interval=0".into());
            arguments.push(format!("--status-file={}", self.path("status").display()).into());
        }
        self.ports = PORTS.map(|_| free_port()).to_vec();
        arguments.extend(
            self.options
                .iter()
                .map(|option| self.filled_in(option).into()),
        );
        arguments.extend(self.program.iter().cloned());
        launch(
            &self.scene,
            &arguments,
            &self.before,
            &self.environment,
            self.stdin.as_ref(),
            "",
        )
    }

    fn filled_in(&self, option: &str) -> String {
        fill_in(option, &self.scene, &self.ports)
    }
}

/// Puts the directory and the ports where an option names them.
pub(super) fn fill_in(option: &str, scene: &Scene, ports: &[u16]) -> String {
    let mut filled = option.replace("DIR", scene.directory.path().to_str().unwrap());
    for (name, port) in PORTS.iter().zip(ports.iter().rev()) {
        filled = filled.replace(name, &port.to_string());
    }
    filled
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("START_SERVER")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_start_server").into());
    std::path::absolute(Path::new(&path)).unwrap()
}

/// Starts the program under test in the scene. Later calls in the same scene write to files with a suffix.
pub(super) fn launch(
    scene: &Scene,
    arguments: &[OsString],
    before: &[String],
    environment: &[(String, OsString)],
    stdin: Option<&File>,
    suffix: &str,
) -> Running {
    let mut command = if before.is_empty() {
        Command::new(binary())
    } else {
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("{}\nexec \"$@\"", before.join("\n")))
            .arg("sh")
            .arg(binary());
        shell
    };
    command.args(arguments);
    for name in [
        "ENVDIR",
        "ENABLE_AUTO_RESTART",
        "AUTO_RESTART_INTERVAL",
        "KILL_OLD_DELAY",
        "POSIXLY_CORRECT",
        "RUNTIME_DIRECTORY",
        "XDG_RUNTIME_DIR",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["SERVER_STARTER_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command
        .env("LC_ALL", "C")
        .env("OUT", scene.path("out"))
        .env("DIR", scene.directory.path())
        .env("TMPDIR", scene.directory.path());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(scene.directory.path());
    let (stdout, stderr) = (
        scene.path(&format!("stdout{suffix}")),
        scene.path(&format!("stderr{suffix}")),
    );
    let output = |path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    };
    if suffix.is_empty() {
        // a start that found its port taken may have left these
        let _ = fs::remove_file(&stderr);
        let _ = fs::remove_file(scene.path("out"));
    }
    command.stdout(output(&stdout)).stderr(output(&stderr));
    command.stdin(stdin.map_or_else(Stdio::null, |file| file.try_clone().unwrap().into()));
    let text = format!("{command:?}");
    let child = command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
    Running {
        child,
        command: text,
        stdout,
        stderr,
    }
}

/// A suffix that was not used yet.
pub(super) fn fresh_suffix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    format!(".{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
