//! A supervisor that is killed, and one that is started in its place.

use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;

use crate::supervisor::daemon_of;
use crate::{Output, Process, Supervisor};

impl Supervisor {
    /// Kills the supervisor with KILL and waits until it has ended. Its workers live on.
    #[track_caller]
    pub fn kill(&self) {
        self.process().signal(Signal::SIGKILL);
        self.wait_exit();
    }

    /// Starts another supervisor with the same options, for the same ports, in the same directory. Lines are waited
    /// for from here on.
    #[track_caller]
    pub fn start_again(&mut self) {
        let is_daemon = self.running.get_mut().unwrap().is_none();
        self.next_line.store(self.lines().len(), Ordering::Relaxed);
        let running = self.builder.relaunch();
        let process = if is_daemon {
            running.wait().expect(0, &[]);
            daemon_of(self.dir())
        } else {
            let process = Some(running.process());
            *self.running.get_mut().unwrap() = Some(running);
            process
        };
        self.process = process.unwrap_or(Process(0));
        *self.exited.get_mut().unwrap() = None;
    }

    /// Starts a daemon as [`Supervisor::start_again`] does, and returns what the start that fails has printed.
    #[track_caller]
    pub fn start_daemon_that_fails(&self) -> Output {
        self.builder.relaunch().wait()
    }

    /// [`Supervisor::kill`], and [`Supervisor::start_again`].
    #[track_caller]
    pub fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }
}
