//! Who takes part, and how each is started.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::limits;
use crate::options::{Options, built};
use crate::ports::Port;
use crate::workers::Role;

/// The label of our static program.
pub(crate) const STATIC: &str = "ours, static";

const PERL: &str = "/usr/bin/start_server";

/// One program to measure.
pub(crate) struct Candidate {
    /// The name of its rows.
    pub(crate) label: String,
    /// The supervisor; `None` for the floor.
    path: Option<PathBuf>,
    /// It can do what only ours does: take a worker's own word for its readiness, raise its own limit of open
    /// files, answer at a control socket.
    ours: bool,
}

/// What a candidate is to run, and how.
pub(crate) struct Setup {
    pub(crate) sockets: Vec<Port>,
    pub(crate) wait: Wait,
    pub(crate) role: Role,
    /// Path of a control socket.
    pub(crate) control: Option<PathBuf>,
}

impl Setup {
    /// The worker that only answers.
    pub(crate) fn new(sockets: Vec<Port>, wait: Wait) -> Self {
        Self::with(sockets, wait, Role::Answers)
    }

    /// Another worker.
    pub(crate) fn with(sockets: Vec<Port>, wait: Wait, role: Role) -> Self {
        Self {
            sockets,
            wait,
            role,
            control: None,
        }
    }
}

/// What makes a new worker ready.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// The candidate's defaults.
    Default,
    /// To live for so many seconds.
    Interval(u32),
    /// Its own word. Who does not listen to that waits for its default interval: there is nothing else to go by.
    Word,
}

impl Candidate {
    /// The floor, ours, Perl's if it is there, the others, and last our static one; and what is to be said about those that are not.
    pub(crate) fn all(options: &Options) -> (Vec<Self>, Vec<String>) {
        let named = |label: &str, path: &Path| Self {
            label: label.to_owned(),
            path: Some(path.to_owned()),
            ours: label == "ours" || label == STATIC,
        };
        let mut all = vec![
            Self {
                label: "floor".to_owned(),
                path: None,
                ours: false,
            },
            named("ours", &options.ours),
        ];
        let mut absent = Vec::new();
        match is_perl(Path::new(PERL)) {
            Ok(true) => all.push(named("Perl", Path::new(PERL))),
            Ok(false) => absent.push(format!("Perl: left out, {PERL} is not the Perl one")),
            Err(error) => absent.push(format!("Perl: left out, {PERL}: {error}")),
        }
        all.extend(
            options
                .others
                .iter()
                .map(|path| named(&path.display().to_string(), path)),
        );
        let without_libraries = options.without_libraries.as_deref();
        all.extend(without_libraries.map(|path| named(STATIC, path)));
        (all, absent)
    }

    /// Whether it can do more than start one worker.
    pub(crate) fn reloads(&self) -> bool {
        self.path.is_some()
    }

    /// Whether it is the one that this is about.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Whether it is that one once more, without libraries.
    pub(crate) fn is_static(&self) -> bool {
        self.label == STATIC
    }

    /// A command of the same program, with a bare environment.
    pub(crate) fn program(&self) -> Option<Command> {
        self.path.as_deref().map(bare)
    }

    /// Where it is and which version it says it is.
    pub(crate) fn description(&self) -> String {
        let Some(path) = &self.path else {
            return "bind, listen, fork, exec, wait".to_owned();
        };
        let output = bare(path).arg("--version").stdin(Stdio::null()).output();
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let version = text.lines().next().unwrap_or("tells no version");
        // The path of a build says nothing.
        if *path == built() || self.is_static() {
            return version.to_owned();
        }
        format!("{} ({version})", path.display())
    }

    /// Starts it with these sockets and workers with this token; also when that began.
    pub(crate) fn spawn(
        &self,
        setup: &Setup,
        token: &str,
        output: [Stdio; 2],
    ) -> Result<(Child, Instant), String> {
        let mut command = self.command(setup, token)?;
        let [stdout, stderr] = output;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut spawn = || {
            let now = Instant::now();
            command.spawn().map(|child| (child, now))
        };
        let started = if self.ours {
            limits::as_usual(spawn)?
        } else {
            spawn()
        };
        started.map_err(|error| format!("{}: cannot be started: {error}", self.label))
    }

    fn command(&self, setup: &Setup, token: &str) -> Result<Command, String> {
        let exe = env::current_exe().map_err(|error| format!("own path: {error}"))?;
        let Some(path) = &self.path else {
            let mut command = bare(&exe);
            command.arg("--floor").arg(token);
            for socket in &setup.sockets {
                command.arg(&socket.spec);
            }
            return Ok(command);
        };
        let mut command = bare(path);
        let says_ready = matches!(setup.wait, Wait::Word) && self.ours;
        if let Wait::Interval(interval) = setup.wait {
            command.arg(format!("--interval={interval}"));
        }
        command.args(says_ready.then_some("--ready=notify"));
        if let Some(control) = &setup.control {
            command.arg("--control").arg(control);
        }
        for socket in &setup.sockets {
            command.arg(format!("--port={}", socket.spec));
        }
        command.arg("--").arg(exe).arg(setup.role.flag()).arg(token);
        command.args(says_ready.then_some("--says-ready"));
        Ok(command)
    }
}

/// A command with an environment that is the same in every run.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "TMPDIR"] {
        command.envs(env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Whether it is a Perl script: an installed start_server may also be this one.
fn is_perl(path: &Path) -> std::io::Result<bool> {
    let mut line = [0; 64];
    let length = File::open(path)?.read(&mut line)?;
    Ok(line[..length].starts_with(b"#!") && line[..length].windows(4).any(|word| word == b"perl"))
}
