//! The supervisors that tests begin with.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{Process, Supervisor, SupervisorBuilder, eventually, program};

pub(crate) const CONTROL: &str = "--control=DIR/control";
pub(crate) const UPGRADE: [&str; 2] = ["--upgrade", CONTROL];

/// Only READY makes a worker ready, and a test has time to send it.
pub(crate) const NOTIFY: [&str; 2] = ["--ready=notify", "--start-timeout=1000"];

/// A supervisor with `--interval=0`, `--status-file=DIR/status` and these options.
pub(crate) fn supervisor(options: &[&str]) -> SupervisorBuilder {
    SupervisorBuilder::new(program!(), options)
}

/// A supervisor, or a command such as `--stop`, with these options only.
pub(crate) fn bare_supervisor(options: &[&str]) -> SupervisorBuilder {
    SupervisorBuilder::bare(program!(), options)
}

/// A [`supervisor`] with a shell script as its worker, once that is ready.
#[track_caller]
pub(crate) fn start(options: &[&str], worker: &str) -> Supervisor {
    supervisor(options).sh(worker).start()
}

/// A [`supervisor`] with the worker [`hello`], once that is ready.
#[track_caller]
pub(crate) fn start_hello(options: &[&str]) -> Supervisor {
    supervisor(options).program(["--".into(), hello()]).start()
}

/// A [`supervisor`] whose first worker has sent READY.
#[track_caller]
pub(crate) fn start_notified(options: &[&str]) -> Supervisor {
    let s = supervisor(options).sh(SLEEPS).spawn();
    s.wait_notifying(1).1.send("READY=1");
    s.wait_generation(1);
    s
}

/// A [`supervisor`] that runs from a file of its own, which can be replaced, and has a control socket.
pub(crate) fn upgradable(options: &[&str]) -> SupervisorBuilder {
    let options: Vec<&str> = [CONTROL].iter().chain(options).copied().collect();
    supervisor(&options).copied()
}

/// The example worker, which answers HTTP on every socket it is given.
#[track_caller]
pub(crate) fn hello() -> PathBuf {
    program!().example("hello")
}

/// A process that does not belong to the supervisor and must not get a signal.
pub(crate) struct Bystander(Child);

impl Bystander {
    pub(crate) fn start(stdin: Stdio) -> Self {
        let mut sleep = Command::new("sleep");
        Self(sleep.arg("1000").stdin(stdin).spawn().unwrap())
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.0.id().try_into().unwrap())
    }

    /// The process sleeps, and no signal is pending.
    #[track_caller]
    pub(crate) fn expect_unharmed(&self) {
        let process = self.process();
        eventually("the bystander sleeps", || process.state() == Some('S'));
        let pending = process.signal_set("ShdPnd");
        assert_eq!(pending, Some(0), "a signal to the bystander is pending");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
