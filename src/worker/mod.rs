//! Starts workers: the same program each time, with the environment of that moment.

mod cgroup;
pub(crate) mod environment;
pub(crate) mod notify;
mod spawn_error;
mod tree;

pub(crate) use environment::{Environment, Reading};
pub(crate) use notify::{NotifySockets, Parents, SavedNotifySockets, StatusText};

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::machine::Generation;
use crate::sockets::{ListenFds, Sockets};
use crate::sys::limits::ChildLimit;
use crate::sys::process::{self, Program};
use crate::types::{Identity, Pid, Signal};
use cgroup::Cgroups;
pub(crate) use spawn_error::SpawnError;
pub(crate) use tree::ProcessTree;

/// Starts workers. Holds what is the same for all of them.
pub(crate) struct Spawner {
    argv: Vec<CString>,
    dir: Option<CString>,
    identity: Option<Identity>,
    /// The descriptors of the sockets.
    keep: Vec<RawFd>,
    /// Variables that are the same for all workers.
    common: Vec<CString>,
    /// Variables whose value is the worker's own pid.
    pid_env: Vec<&'static str>,
    cgroups: Cgroups,
}

impl Spawner {
    /// The spawner of a configuration.
    ///
    /// # Errors
    /// The program, an argument, `--dir` or the key of a socket has a NUL byte.
    pub(crate) fn for_config(config: &Config, sockets: &Sockets) -> Result<Spawner, Error> {
        let words = std::iter::once(&config.program).chain(&config.args);
        let words = words.map(|word| c_string(word, "the program or its arguments"));
        let dir = config.dir.as_ref();
        let dir = dir.map(|dir| c_string(dir.as_os_str(), "--dir"));
        let keep = sockets.numbers();
        if let Some((before, now)) = ChildLimit::of(&keep).and_then(ChildLimit::difference) {
            tracing::info!(
                "workers may open {now} files, not {before}, which their sockets would use up"
            );
        }
        let mut spawner = Spawner {
            argv: words.collect::<Result<_, _>>()?,
            dir: dir.transpose()?,
            identity: config.identity.clone(),
            keep,
            common: Vec::new(),
            pid_env: Vec::new(),
            cgroups: Cgroups::find(),
        };
        spawner.add_sockets(sockets)?;
        if let Some(timeout) = config.worker_watchdog {
            spawner.add_watchdog(timeout);
        }
        Ok(spawner)
    }

    /// Adds the variables that list the sockets: that of Server::Starter and, if the descriptors allow it,
    /// those of systemd.
    fn add_sockets(&mut self, sockets: &Sockets) -> Result<(), Error> {
        let mut add = |name: &str, value: &OsStr| -> Result<(), Error> {
            let mut variable = OsString::from(name);
            variable.push(value);
            self.common.push(c_string(&variable, "a socket's key")?);
            Ok(())
        };
        add("SERVER_STARTER_PORT=", &sockets.server_starter_port())?;
        if let Some(ListenFds { count, names }) = sockets.listen_fds() {
            add("LISTEN_FDS=", OsStr::new(&count.to_string()))?;
            add("LISTEN_FDNAMES=", OsStr::new(&names))?;
            self.pid_env.push("LISTEN_PID");
        } else if !self.keep.is_empty() {
            tracing::info!(
                "workers are not told of their sockets by LISTEN_FDS, which needs them on 3, 4, … \
                 without a gap; SERVER_STARTER_PORT has their numbers"
            );
        }
        Ok(())
    }

    /// Adds the variables of sd_watchdog_enabled(3).
    fn add_watchdog(&mut self, timeout: Duration) {
        let variable = format!("WATCHDOG_USEC={}", timeout.as_micros());
        self.common.push(CString::new(variable).unwrap_or_default()); // digits have no NUL byte
        self.pid_env.push("WATCHDOG_PID");
    }

    /// Starts a worker of this generation. `notify_socket` is its variable `NOTIFY_SOCKET`.
    pub(crate) fn spawn(
        &self,
        generation: Generation,
        environment: &Environment,
        notify_socket: Option<CString>,
    ) -> Result<Pid, SpawnError> {
        let mut variables = self.variables(generation, environment);
        variables.extend(notify_socket);
        self.cgroups.remove_empty(); // of generations that have ended since
        let cgroup = self.cgroups.make(generation);
        start(&Program {
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            ..self.program(&self.argv, &variables)
        })
    }

    /// Starts a shell command with the directory, the user, the environment and the sockets of a worker of this
    /// generation, but without a notification socket. It leads a process group of its own.
    pub(crate) fn check(
        &self,
        command: &OsStr,
        generation: Generation,
        environment: &Environment,
    ) -> Result<Pid, SpawnError> {
        let command = CString::new(command.as_bytes()).unwrap_or_default(); // an argument has no NUL
        let argv = [c"/bin/sh".into(), c"-c".into(), command];
        let mut variables = self.variables(generation, environment);
        variables.retain(|variable| !variable.as_bytes().starts_with(b"WATCHDOG_USEC="));
        let mut pid_env = self.pid_env.clone();
        pid_env.retain(|name| *name == "LISTEN_PID");
        start(&Program {
            pid_env: &pid_env,
            own_group: true,
            ..self.program(&argv, &variables)
        })
    }

    /// Kills the descendants of a worker: all processes in the cgroup of its generation, if there is one, and
    /// those of `tree`. The worker itself is killed by the caller, after the tree was read.
    pub(crate) fn kill_descendants(&self, generation: Option<Generation>, tree: &ProcessTree) {
        if let Some(generation) = generation {
            let _ = self.cgroups.kill(generation); // fails if there is no cgroup
        }
        tree.signal_descendants(Signal::KILL);
    }

    /// Removes the cgroups of generations that have ended.
    pub(crate) fn clean_up(&self) {
        self.cgroups.remove_empty();
    }

    /// The environment of a worker of this generation, as `NAME=VALUE`.
    fn variables(&self, generation: Generation, environment: &Environment) -> Vec<CString> {
        let mut variables = environment.variables();
        variables.extend_from_slice(&self.common);
        let generation = format!("SERVER_STARTER_GENERATION={generation}");
        variables.push(CString::new(generation).unwrap_or_default()); // digits have no NUL byte
        variables
    }

    fn program<'a>(&'a self, argv: &'a [CString], environment: &'a [CString]) -> Program<'a> {
        Program {
            argv,
            environment,
            pid_env: &self.pid_env,
            dir: self.dir.as_deref(),
            identity: self.identity.as_ref(),
            keep: &self.keep,
            stdio: [None, None, None],
            exact: false,
            own_group: false,
            cgroup: None,
        }
    }
}

fn start(program: &Program<'_>) -> Result<Pid, SpawnError> {
    process::spawn(program).map_err(|error| SpawnError::new(program, error))
}

/// Fails for text with a NUL byte; `what` names it.
fn c_string(text: &OsStr, what: &str) -> Result<CString, Error> {
    CString::new(text.as_bytes()).map_err(|_| Error::Usage(format!("a NUL byte in {what}")))
}
