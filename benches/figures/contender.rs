//! Who takes part, and how each is started.

use std::env;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;

const PERL: &str = "/usr/bin/start_server";

/// One program to measure.
pub(crate) struct Contender {
    /// The name of its rows.
    pub(crate) label: String,
    /// The supervisor; `None` for the floor.
    path: Option<PathBuf>,
    /// It takes a worker's own word for its readiness.
    listens: bool,
}

/// What makes a new worker ready.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// The contender's defaults.
    Default,
    /// To live for so many seconds.
    Interval(u32),
    /// Its own word. Who does not listen to that waits for its default interval: there is nothing else to go by.
    Word,
}

impl Contender {
    /// The floor, ours, Perl's if it is there, and the others; and what is to be said about those that are not.
    pub(crate) fn all(options: &Options) -> (Vec<Self>, Vec<String>) {
        let named = |label: &str, path: &Path| Self {
            label: label.to_owned(),
            path: Some(path.to_owned()),
            listens: label == "ours",
        };
        let mut all = vec![
            Self {
                label: "floor".to_owned(),
                path: None,
                listens: false,
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
        (all, absent)
    }

    /// Whether it can do more than start one worker.
    pub(crate) fn reloads(&self) -> bool {
        self.path.is_some()
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
        format!("{} ({version})", path.display())
    }

    /// The command that holds these sockets and runs the worker with this token.
    pub(crate) fn command(
        &self,
        sockets: &[SocketAddrV4],
        wait: Wait,
        token: &str,
    ) -> Result<Command, String> {
        let exe = env::current_exe().map_err(|error| format!("own path: {error}"))?;
        let Some(path) = &self.path else {
            let mut command = bare(&exe);
            command
                .arg("--floor")
                .arg(token)
                .args(sockets.iter().map(ToString::to_string));
            return Ok(command);
        };
        let mut command = bare(path);
        let says_ready = matches!(wait, Wait::Word) && self.listens;
        if let Wait::Interval(interval) = wait {
            command.arg(format!("--interval={interval}"));
        }
        command.args(says_ready.then_some("--ready=notify"));
        command.args(sockets.iter().map(|socket| format!("--port={socket}")));
        command.arg("--").arg(exe).arg("--worker").arg(token);
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
