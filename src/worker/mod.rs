//! Starting workers: the same program each time, in an environment that is read anew.

mod cgroup;
pub(crate) mod environment;
pub(crate) mod notify;
mod tree;

pub(crate) use environment::{Environment, Reading};
pub(crate) use notify::{NotifySockets, Parents, SavedNotifySockets, StatusText};

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::config::Config;
use crate::error::{Error, why as why_errno};
use crate::machine::{Generation, SpawnFailure};
use crate::sockets::{ListenFds, Sockets};
use crate::sys::limits::ChildLimit;
use crate::sys::process::{self, ChildError, ChildStep, Program};
use crate::types::{Identity, Pid, Signal};
use cgroup::Cgroups;
pub(crate) use tree::ProcessTree;

/// Starts workers. Holds what is the same for all of them.
pub(crate) struct Spawner {
    argv: Vec<CString>,
    dir: Option<CString>,
    identity: Option<Identity>,
    keep: Vec<RawFd>,
    /// Variables that are the same for all workers.
    common: Vec<CString>,
    /// Variables whose value is the worker's own pid.
    pid_env: Vec<&'static str>,
    cgroups: Cgroups,
}

/// Why a worker was not started: the text for the log, the kind for the machine.
#[derive(Debug)]
pub(crate) struct SpawnError {
    pub(crate) reason: String,
    pub(crate) kind: SpawnFailure,
}

impl SpawnError {
    /// A failure that the next attempt may not have.
    pub(crate) fn for_now(reason: String) -> SpawnError {
        let kind = SpawnFailure::Transient;
        SpawnError { reason, kind }
    }
}

impl Spawner {
    fn new(
        program: &OsStr,
        args: &[OsString],
        dir: Option<&Path>,
        sockets: &Sockets,
        watchdog: Option<Duration>,
        identity: Option<Identity>,
    ) -> Result<Spawner, Error> {
        let nul = |what: &str| {
            let what = what.to_owned();
            move |_| Error::Usage(format!("a NUL byte in {what}"))
        };
        let words = std::iter::once(program).chain(args.iter().map(OsString::as_os_str));
        let argv: Result<Vec<CString>, _> = words.map(|w| CString::new(w.as_bytes())).collect();
        let keep = sockets.numbers();
        if let Some((before, now)) = ChildLimit::of(&keep).and_then(ChildLimit::difference) {
            tracing::info!(
                "workers may open {now} files, not {before}, which their sockets would use up"
            );
        }
        let listen_fds = sockets.listen_fds();
        let mut common = tell_of(sockets, listen_fds.as_ref()).map_err(nul("a socket's key"))?;
        let mut pid_env = Vec::from_iter(listen_fds.map(|_| "LISTEN_PID"));
        if let Some(watchdog) = watchdog {
            let variable = format!("WATCHDOG_USEC={}", watchdog.as_micros());
            common.push(CString::new(variable).unwrap_or_default()); // digits have no NUL byte
            pid_env.push("WATCHDOG_PID");
        }
        Ok(Spawner {
            argv: argv.map_err(nul("the program or its arguments"))?,
            dir: match dir {
                Some(dir) => Some(CString::new(dir.as_os_str().as_bytes()).map_err(nul("--dir"))?),
                None => None,
            },
            identity,
            keep,
            common,
            pid_env,
            cgroups: Cgroups::find(),
        })
    }

    /// The spawner of a configuration.
    pub(crate) fn for_config(config: &Config, sockets: &Sockets) -> Result<Spawner, Error> {
        Spawner::new(
            &config.program,
            &config.args,
            config.dir.as_deref(),
            sockets,
            config.worker_watchdog,
            config.identity.clone(),
        )
    }

    /// Starts a worker of this generation. `notify_socket` is its variable `NOTIFY_SOCKET`.
    pub(crate) fn spawn(
        &self,
        generation: Generation,
        environment: &Environment,
        notify_socket: Option<CString>,
    ) -> Result<Pid, SpawnError> {
        let mut block = self.block(generation, environment);
        block.extend(notify_socket);
        self.cgroups.remove_empty(); // of generations that have ended since
        let cgroup = self.cgroups.make(generation);
        self.run(&self.argv, &block, &self.pid_env, false, cgroup.as_ref())
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
        let block = self.block(generation, environment);
        let watchdog = |variable: &CString| variable.as_bytes().starts_with(b"WATCHDOG_USEC=");
        let block: Vec<CString> = block.into_iter().filter(|v| !watchdog(v)).collect();
        let pid_env = self.pid_env.iter().filter(|name| **name == "LISTEN_PID");
        self.run(
            &argv,
            &block,
            &pid_env.copied().collect::<Vec<_>>(),
            true,
            None,
        )
    }

    /// Kills what a generation has started, its cgroup if it has one and this process tree. The worker itself
    /// is the caller's to kill, after the tree was read.
    pub(crate) fn kill_descendants(&self, generation: Option<Generation>, tree: &ProcessTree) {
        if let Some(generation) = generation {
            let _ = self.cgroups.kill(generation); // most have none
        }
        tree.signal_descendants(Signal::KILL);
    }

    /// Removes the cgroups of generations that have ended.
    pub(crate) fn clean_up(&self) {
        self.cgroups.remove_empty();
    }

    fn block(&self, generation: Generation, environment: &Environment) -> Vec<CString> {
        let mut block = environment.block();
        block.extend_from_slice(&self.common);
        // Digits have no NUL byte.
        let number = format!("SERVER_STARTER_GENERATION={generation}");
        block.push(CString::new(number).unwrap_or_default());
        block
    }

    fn run(
        &self,
        argv: &[CString],
        environment: &[CString],
        pid_env: &[&str],
        own_group: bool,
        cgroup: Option<&File>,
    ) -> Result<Pid, SpawnError> {
        let program = Program {
            argv,
            environment,
            pid_env,
            dir: self.dir.as_deref(),
            identity: self.identity.as_ref(),
            keep: &self.keep,
            stdio: [None, None, None],
            exact: false,
            own_group,
            cgroup: cgroup.map(AsFd::as_fd),
        };
        process::spawn(&program).map_err(|error| self.explain(argv, error))
    }

    /// For E2BIG: the longest of the variables that grow with the number of sockets.
    fn longest(&self, errno: Errno) -> String {
        let longest = self.common.iter().max_by_key(|v| v.as_bytes().len());
        let Some(variable) = longest.filter(|_| errno == Errno::E2BIG) else {
            return String::new();
        };
        let (variable, length) = (variable.to_string_lossy(), variable.as_bytes().len());
        let name = variable.split('=').next().unwrap_or_default();
        format!(" ({name} has {length} bytes; Linux takes 131071 of one variable, execve(2))")
    }

    fn explain(&self, argv: &[CString], ChildError { step, errno }: ChildError) -> SpawnError {
        let why = why_errno(errno);
        let program = argv
            .first()
            .map(|p| p.to_string_lossy())
            .unwrap_or_default();
        let (reason, kind) = match step {
            ChildStep::Exec => (
                format!("failed to exec {program}: {why}{}", self.longest(errno)),
                hopeless_unless_busy(errno),
            ),
            ChildStep::Chdir => {
                let dir = self
                    .dir
                    .as_deref()
                    .map(|d| d.to_string_lossy())
                    .unwrap_or_default();
                (
                    format!("failed to chdir to {dir}: {why}"),
                    hopeless_unless_busy(errno),
                )
            }
            ChildStep::Identity => {
                let who = self.identity.as_ref();
                let who = who.map(|who| format!("user {}, group {}", who.user, who.group));
                (
                    format!("failed to become {}: {why}", who.unwrap_or_default()),
                    hopeless_unless_busy(errno),
                )
            }
            ChildStep::Fork => (format!("failed to fork: {why}"), SpawnFailure::Transient),
            ChildStep::Descriptors => (
                format!("failed to pass on a descriptor: {why}"),
                SpawnFailure::Transient,
            ),
        };
        SpawnError { reason, kind }
    }
}

/// The variables that list the sockets: that of Server::Starter and, if the descriptors allow it, those of systemd.
/// Not LISTEN_PID, which differs between workers.
fn tell_of(
    sockets: &Sockets,
    listen_fds: Option<&ListenFds>,
) -> Result<Vec<CString>, std::ffi::NulError> {
    let mut ports = OsString::from("SERVER_STARTER_PORT=");
    ports.push(sockets.server_starter_port());
    let mut variables = vec![CString::new(ports.into_vec())?];
    if let Some(ListenFds { count, names }) = listen_fds {
        variables.push(CString::new(format!("LISTEN_FDS={count}"))?);
        variables.push(CString::new(format!("LISTEN_FDNAMES={names}"))?);
    } else if !sockets.numbers().is_empty() {
        tracing::info!(
            "workers are not told of their sockets by LISTEN_FDS, which needs them on 3, 4, … \
             without a gap; SERVER_STARTER_PORT has their numbers"
        );
    }
    Ok(variables)
}

/// Whether another attempt may succeed without a change of the configuration.
fn hopeless_unless_busy(errno: Errno) -> SpawnFailure {
    match errno {
        Errno::EAGAIN
        | Errno::ETIMEDOUT
        | Errno::ENOMEM
        | Errno::ENFILE
        | Errno::EMFILE
        | Errno::ETXTBSY
        | Errno::EIO
        | Errno::EINTR => SpawnFailure::Transient,
        _ => SpawnFailure::Permanent,
    }
}
