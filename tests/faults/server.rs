//! A supervisor under strace, and what can be observed from outside.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use server_starter_testing::{
    Process, Supervisor, SupervisorBuilder, TestDir, connect_unix, last_lines, program,
    wait_for_within, worker_command,
};

use crate::case::Fault;
use crate::other_files::OtherFiles;
use crate::scenarios::Scenario;
use crate::trace::Trace;

/// How long any event may take. The supervisor itself waits five seconds for an exec, and ten for a worker that stays.
pub(crate) const BOUND: Duration = Duration::from_secs(25);

/// The worker that has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) generation: u64,
    pub(crate) pid: i32,
}

/// A supervisor under strace.
pub(crate) struct Server {
    supervisor: Supervisor,
    pub(crate) others: OtherFiles,
    /// Whether it has answered.
    pub(crate) served: bool,
    /// Whether a worker that runs may be killed: with a `close` that fails, the supervisor waits in vain for the end of
    /// the pipe that reports the exec.
    may_kill: bool,
    /// What systemd would know: it has sent READY, and not RELOADING since.
    pub(crate) said_ready: bool,
}

impl Server {
    pub(crate) fn start(scenario: &Scenario, fault: Option<&Fault>) -> Server {
        // strings in full; what differs from run to run is replaced later
        let mut strace = "strace -D -y -ttt -s 512 -o trace".to_owned();
        if let Some(fault) = fault {
            let (name, errno, when) = (&fault.name, fault.errno, fault.when());
            strace += &format!(" -e inject={name}:error={errno}:when={when}");
        }
        let mut builder = SupervisorBuilder::bare(program!(), scenario.options)
            .clear_env()
            .before(&format!("set -- {strace} \"$@\""))
            .program(worker_command());
        let others = OtherFiles::create(builder.dir(), scenario.stale_files);
        let dir = builder.dir().text().to_owned();
        builder = builder.env("TMPDIR", format!("{dir}/tmp"));
        for (name, value) in scenario.environment {
            builder = builder.env(name, value.replace("DIR", &dir));
        }
        if scenario.inherits {
            builder = builder.stdin(TcpListener::bind("127.0.0.1:0").unwrap());
        }
        Server {
            supervisor: builder.spawn(),
            others,
            served: false,
            may_kill: fault.is_some_and(|fault| fault.name == "close"),
            said_ready: false,
        }
    }

    pub(crate) fn dir(&self) -> &TestDir {
        self.supervisor.dir()
    }

    pub(crate) fn process(&self) -> Process {
        self.supervisor.process()
    }

    /// A command of the program under test: `--status` and the like.
    pub(crate) fn command(&self) -> Command {
        Command::new(self.supervisor.program().path())
    }

    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        self.supervisor.exited()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.exited().is_none() {
            self.process().signal(signal);
        }
    }

    /// Calls `found` until it returns something; `None` if it did not within `bound`. An error ends the wait, and so
    /// does the end of the supervisor.
    pub(crate) fn look<T>(
        &mut self,
        bound: Duration,
        mut found: impl FnMut(&mut Server) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, String> {
        let looked = wait_for_within(bound, || match found(self) {
            Ok(None) => {
                let status = self.exited()?;
                Some(Err(format!("it exited: {status}")))
            }
            found => Some(found),
        });
        looked.unwrap_or(Ok(None))
    }

    /// Asks on every socket there is; the answer is that on the first. Once one has come, each must.
    pub(crate) fn ask(&mut self) -> Result<Option<Answer>, String> {
        let (answer, keys) = match self.ask_at_first() {
            Ok(found) => found,
            Err(e) if self.served && !self.may_kill && self.exited().is_none() => {
                return Err(format!("a client was not served: {e}"));
            }
            Err(_) => return Ok(None),
        };
        self.served = true;
        for key in keys.iter().filter(|key| !key.starts_with('/')) {
            let refused = |e| format!("a client of {key} was not served: {e}");
            let stream = TcpStream::connect(key).map_err(refused)?;
            stream.set_read_timeout(Some(BOUND)).map_err(refused)?;
            read_answer(stream).map_err(refused)?;
        }
        Ok(Some(answer))
    }

    fn ask_at_first(&self) -> io::Result<(Answer, Vec<String>)> {
        read_answer(connect_unix(self.dir().path("sock"))?)
    }

    /// Reads what it has told systemd.
    pub(crate) fn listen(&mut self) {
        while let Some(text) = self.others.manager.receive() {
            for line in text.lines() {
                match line {
                    "READY=1" => self.said_ready = true,
                    "RELOADING=1" => self.said_ready = false,
                    _ => {}
                }
            }
        }
    }

    /// All output of the supervisor and of its workers.
    pub(crate) fn said(&self) -> String {
        ["log.1", "log", "stderr"]
            .map(|name| self.dir().read(name))
            .concat()
    }

    /// The end of its output.
    pub(crate) fn last_lines(&self) -> String {
        last_lines(&self.said(), 12, "\n    ")
    }

    /// The processes of this run, except strace.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let mut processes = self.dir().processes();
        processes.retain(|process| process.name() != "strace");
        processes
    }

    /// The files that should not be there any more, see [`OtherFiles::left`].
    pub(crate) fn left(&self, scenario: &Scenario, stale: bool) -> Vec<String> {
        self.others.left(self.dir(), scenario.leaves, stale)
    }

    /// The number of its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        self.process().descriptors().len()
    }

    /// All its calls, once it has ended and strace has written them.
    pub(crate) fn trace(&self) -> Result<Trace, String> {
        let complete = wait_for_within(BOUND, || {
            let trace = Trace::parse(&self.dir().read("trace"));
            trace.complete.then_some(trace)
        });
        complete.ok_or_else(|| "strace has not come to an end".to_owned())
    }
}

fn read_answer(mut from: impl Read) -> io::Result<(Answer, Vec<String>)> {
    let mut text = String::new();
    from.read_to_string(&mut text)?;
    let mut words = text.split_whitespace();
    let answer = || -> Option<Answer> {
        Some(Answer {
            generation: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
        })
    }();
    let broken = || io::Error::other(format!("the answer was {text:?}"));
    Ok((
        answer.ok_or_else(broken)?,
        text.split_whitespace().skip(2).map(str::to_owned).collect(),
    ))
}
