//! Starting workers: the same program each time, in the environment of the day.

mod environment;
mod watch;

pub(crate) use environment::Environment;

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Error, why as why_errno};
use crate::machine::{Generation, SpawnFailure};
use crate::sys::process::{self, Program, SpawnError, Step};
use crate::units::Pid;

/// What every worker is made of.
pub(crate) struct Spawner {
    argv: Vec<CString>,
    dir: Option<CString>,
    keep: Vec<RawFd>,
    /// `SERVER_STARTER_PORT=…`
    ports: CString,
}

/// Why there is no worker: for the log, and for the machine.
#[derive(Debug)]
pub(crate) struct NoWorker {
    pub(crate) reason: String,
    pub(crate) kind: SpawnFailure,
}

impl Spawner {
    pub(crate) fn new(
        program: &OsStr,
        args: &[OsString],
        dir: Option<&Path>,
        ports: OsString,
        keep: Vec<RawFd>,
    ) -> Result<Spawner, Error> {
        let nul = |what: &str| {
            let what = what.to_owned();
            move |_| Error::Usage(format!("a NUL byte in {what}"))
        };
        let words = std::iter::once(program).chain(args.iter().map(OsString::as_os_str));
        let argv: Result<Vec<CString>, _> = words.map(|w| CString::new(w.as_bytes())).collect();
        let mut variable = OsString::from("SERVER_STARTER_PORT=");
        variable.push(ports);
        Ok(Spawner {
            argv: argv.map_err(nul("the program or its arguments"))?,
            dir: match dir {
                Some(dir) => Some(CString::new(dir.as_os_str().as_bytes()).map_err(nul("--dir"))?),
                None => None,
            },
            keep,
            ports: CString::new(variable.into_vec()).map_err(nul("a socket's key"))?,
        })
    }

    /// Starts a worker of this generation.
    pub(crate) fn spawn(
        &self,
        generation: Generation,
        environment: &Environment,
    ) -> Result<Pid, NoWorker> {
        let mut block = environment.block();
        block.push(self.ports.clone());
        // Digits have no NUL byte.
        let number = format!("SERVER_STARTER_GENERATION={generation}");
        block.push(CString::new(number).unwrap_or_default());
        let program = Program {
            argv: &self.argv,
            environment: &block,
            dir: self.dir.as_deref(),
            keep: &self.keep,
            stdio: [None, None, None],
            own_group: false,
        };
        process::spawn(&program).map_err(|error| self.explain(error))
    }

    fn explain(&self, SpawnError { step, errno }: SpawnError) -> NoWorker {
        let why = why_errno(errno);
        let program = self
            .argv
            .first()
            .map(|p| p.to_string_lossy())
            .unwrap_or_default();
        let (reason, kind) = match step {
            Step::Exec => (
                format!("failed to exec {program}: {why}"),
                hopeless_unless_busy(errno),
            ),
            Step::Chdir => {
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
            Step::Fork => (format!("failed to fork: {why}"), SpawnFailure::Passing),
            Step::Descriptors => (
                format!("failed to pass on a descriptor: {why}"),
                SpawnFailure::Passing,
            ),
        };
        NoWorker { reason, kind }
    }
}

/// Whether another try might go better, with nobody changing a thing.
fn hopeless_unless_busy(errno: Errno) -> SpawnFailure {
    match errno {
        Errno::EAGAIN
        | Errno::ETIMEDOUT
        | Errno::ENOMEM
        | Errno::ENFILE
        | Errno::EMFILE
        | Errno::ETXTBSY
        | Errno::EIO
        | Errno::EINTR => SpawnFailure::Passing,
        _ => SpawnFailure::Hopeless,
    }
}
