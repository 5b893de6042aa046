//! The loop: waits until the kernel reports something, turns that into events for the machine, and carries
//! out the actions that the machine returns (`actions.rs`).
//!
//! There is one thread and one ppoll(2). The timer for the next deadline is one of its descriptors; without
//! a deadline the loop sleeps until something happens. An iteration takes signals first, then dead
//! children, then notifications of workers, then deadlines. So a worker that dies just before its time is
//! up, or just after `READY=1`, has failed, and no other worker is told to leave for it.

mod actions;
mod builder;
mod check;
mod control;
mod reopen;
mod start;
mod taken_over;
pub(crate) mod upgrade;

pub use start::run;
pub use upgrade::preflight;

use std::ffi::OsString;
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use upgrade::Upgrade;

use crate::config::LiveConfig;
use crate::control::Server;
use crate::error::why;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::history::History;
use crate::log;
use crate::machine::{Event, Machine, Time};
use crate::sockets::{Reopener, Sockets};
use crate::sys;
use crate::sys::daemon::Launcher;
use crate::sys::signals::Signals;
use crate::sys::timer::Timer;
use crate::systemd::{Notifier, Status};
use crate::takeover::Adopted;
use crate::types::{Pid, Signal};
use crate::worker::{Environment, NotifySockets, ProcessTree, Spawner, StatusText};

/// The pause after a failed ppoll.
const POLL_BACKOFF: Duration = Duration::from_millis(100);

/// A wait that ends so much later than its deadline was not slow but interrupted: SIGSTOP, a frozen cgroup, a
/// paused virtual machine.
const LATE: Duration = Duration::from_millis(500);

/// `Break` has the exit status: the machine has ended.
type Flow = ControlFlow<u8>;

/// A running supervisor.
struct Supervisor {
    machine: Machine,
    /// Time 0 of the machine, on the monotonic clock.
    origin: Duration,
    /// Descriptors of our own have this number or a higher one: no socket is assigned to those.
    min_fd: RawFd,
    signals: Signals,
    /// Expires at the next deadline. If `None`, the time-out of ppoll has to do.
    timer: Option<Timer>,
    spawner: Spawner,
    notify_sockets: NotifySockets,
    environment: Environment,
    live: LiveConfig,
    notifier: Notifier,
    history: History,
    log: LogFile,
    log_name: String,
    /// The process that waits for the result of the first start, with `--daemonize`.
    launcher: Option<Launcher>,
    /// Why the latest worker did not start, for the launcher.
    last_failure: Option<String>,
    status_file: Option<StatusFile>,
    /// The status file is out of date.
    status_due: bool,
    /// When to try again to write the status file.
    status_retry: Option<Time>,
    /// ppoll failed; already logged.
    poll_failed: bool,
    /// The shell command of `--check-cmd`.
    check_command: Option<OsString>,
    /// The process of the check that is under way.
    check: Option<Pid>,
    /// Stuck workers, and what they have started.
    aborted: Vec<(Pid, ProcessTree)>,
    /// The loop was away: this process was stopped or frozen.
    resumed: bool,
    /// The latest wait ended late.
    was_late: bool,
    upgrade: Upgrade,
    control: Option<Server>,
    /// Workers of a supervisor that was killed.
    adopted: Adopted,
    sockets: Sockets,
    reopener: Reopener,
    /// When a generation was last started because a socket file was removed.
    file_reload: Option<Time>,
    /// A socket has been shut down.
    sockets_shut_down: bool,
    pid_file: Option<PidFile>,
}

impl Supervisor {
    fn now(&self) -> Time {
        sys::clock::monotonic().saturating_sub(self.origin)
    }

    /// Runs the loop until the machine ends. Returns the exit status.
    fn run(mut self) -> u8 {
        let code = loop {
            let flow = self.iterate();
            self.write_status_file();
            if let ControlFlow::Break(code) = flow {
                break code;
            }
            self.upgrade_if_due();
            self.wait();
        };
        let now = self.now();
        self.keep_files_of_live_workers();
        self.spawner.clean_up();
        self.kill_preflight();
        self.answer_stops();
        let Supervisor {
            control,
            sockets,
            notify_sockets,
            status_file,
            pid_file,
            log,
            launcher,
            ..
        } = self;
        // The pid file, whose lock says that this supervisor lives, goes after what the lock protects. The
        // connections of clients that wait for the end are closed after that. The log comes last, since its
        // command may take time.
        drop(sockets);
        drop(notify_sockets);
        drop(status_file);
        drop(pid_file);
        drop(control);
        log.close(now);
        if let Some(launcher) = launcher {
            let reason = self.last_failure;
            let reason = reason.unwrap_or_else(|| "stopped before it was ready".to_owned());
            launcher.report(
                code.max(1),
                &format!("start_server: {reason} (log: {})", self.log_name),
            );
        }
        code
    }

    /// Processes everything that has happened since the last iteration.
    fn iterate(&mut self) -> Flow {
        log::flush();
        self.process_signals()?;
        // Before dead children are reaped: the message names the worker that has shut a socket down.
        if std::mem::take(&mut self.sockets_shut_down) {
            self.reopen_sockets()?;
        }
        self.process_pending()?;
        self.serve_clients()?;
        let now = self.now();
        self.tick_upgrade(now);
        self.log.tick(now);
        let (current, history) = (self.machine.current(), &self.history);
        self.notifier.tick(now, Status { current, history });
        self.status_due |= self.status_retry.is_some_and(|at| at <= now);
        if self.machine.deadline().is_some_and(|at| at <= self.now()) {
            // A worker is not late because the supervisor was: what has happened meanwhile comes first.
            self.poll_fds(now, Some(Duration::ZERO));
            self.process_pending()?;
            self.process_absence()?;
            return self.handle(Event::Tick);
        }
        self.process_absence()?;
        match self.environment.changed(now) {
            true => self.handle(Event::Tick),
            false => Flow::Continue(()),
        }
    }

    fn process_signals(&mut self) -> Flow {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::HUP => {
                    self.check_control_socket();
                    self.retry_lost_sockets();
                    self.handle(Event::Hup)?;
                }
                Signal::TERM | Signal::INT | Signal::QUIT => self.handle(Event::Stop(signal))?,
                Signal::USR1 => {
                    self.reopen_log();
                    self.check_control_socket();
                }
                Signal::USR2 => {
                    tracing::info!("received USR2, upgrading this program");
                    self.request_upgrade();
                }
                Signal::CHLD => {} // all dead children are reaped in each iteration
                _ => tracing::info!("received {signal}, which means nothing here"),
            }
        }
        Flow::Continue(())
    }

    /// Processes deaths of children, and then notifications of workers that live.
    fn process_pending(&mut self) -> Flow {
        for text in self.notify_sockets.read() {
            self.set_status_text(text);
        }
        // A child is reaped only after the machine has handled the death of the one before: the pids that the
        // machine signals must not have been reaped.
        while let Some((pid, status)) = sys::process::next_dead_child() {
            self.child_died(pid, status)?;
        }
        self.adopted_ended()?;
        while let Some((generation, notification)) = self.notify_sockets.next_notification() {
            self.handle(Event::Notified(generation, notification))?;
        }
        Flow::Continue(())
    }

    fn set_status_text(&mut self, text: StatusText) {
        if self.history.set_status_text(text) {
            self.notifier.status_changed();
        }
    }

    fn child_died(&mut self, pid: Pid, status: i32) -> Flow {
        self.adopted.remove(pid);
        if let Some(generation) = self.machine.generation_of(pid) {
            if let Some(text) = self.notify_sockets.close(generation) {
                self.set_status_text(text);
            }
            self.end_aborted(pid, generation);
            let flow = self.handle(Event::Exited(pid, status));
            self.history.forget(generation);
            return flow;
        }
        if let Some(event) = self.check_died(pid, status) {
            return self.handle(event);
        }
        if self.preflight_died(pid, status) {
            return Flow::Continue(());
        }
        if !self.log.died(pid, status, self.now()) {
            tracing::debug!(pid, status, "reaped an unknown child");
        } else if self.launcher.is_some() {
            // The log would have the reason, which the user of --daemonize has to see.
            let how = sys::process::describe_status(status);
            self.last_failure = Some(format!("the log command ended ({how})"));
            return self.abandon_start();
        }
        Flow::Continue(())
    }

    /// If this process was away for longer than it wanted to sleep, so were the workers, and every period gets a
    /// fresh start.
    fn process_absence(&mut self) -> Flow {
        match std::mem::take(&mut self.resumed) {
            true => self.handle(Event::Resumed),
            false => Flow::Continue(()),
        }
    }

    /// Sleeps until something happens, or the next deadline.
    fn wait(&mut self) {
        let now = self.now();
        let deadlines = [
            self.machine.deadline(),
            self.log.deadline(),
            self.notifier.deadline(),
            self.environment.deadline(now),
            self.status_retry,
            self.upgrade.deadline(),
            self.control.as_ref().and_then(Server::deadline),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = self.poll_timeout(deadline, now);
        self.poll_fds(now, timeout);
        let late = deadline.filter(|at| *at > now);
        let late = late.is_some_and(|at| self.now().saturating_sub(at) > LATE);
        // Once: on a machine that is late each time, a stuck worker has to be found all the same.
        self.resumed |= late && !self.was_late;
        self.was_late = late;
    }

    /// The time-out of ppoll. `None` if there is no deadline, or the timer is set to it.
    fn poll_timeout(&mut self, deadline: Option<Time>, now: Time) -> Option<Duration> {
        let upcoming = deadline.filter(|at| *at > now);
        let timer = self.timer.as_mut();
        let timer_is_set = timer.is_some_and(|timer| timer.set(upcoming, now).is_ok());
        let left = deadline?.saturating_sub(now);
        (left.is_zero() || !timer_is_set).then_some(left)
    }

    /// Polls all descriptors, for at most `timeout`, and marks those that are ready.
    fn poll_fds(&mut self, now: Time, timeout: Option<Duration>) {
        let log_output = log::pending();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let writable = |fd| PollFd::new(fd, PollFlags::POLLOUT);
        let mut fds: Vec<PollFd<'_>> = self.notify_sockets.fds().map(readable).collect();
        let notify_sockets = 0..fds.len();
        let control = self.control.iter().flat_map(Server::fds);
        fds.extend(control.map(|(fd, events)| PollFd::new(fd, events)));
        let control = notify_sockets.end..fds.len();
        // Most of the others only end the wait.
        fds.push(readable(self.signals.as_fd()));
        fds.extend(self.timer.as_ref().map(|timer| readable(timer.as_fd())));
        fds.extend(self.adopted.fds().map(readable));
        let notifier = fds.len();
        fds.extend(self.notifier.fd().map(writable));
        let notifier = notifier..fds.len();
        let sockets = fds.len();
        fds.extend(self.reopener.fds().map(readable));
        let sockets = sockets..fds.len();
        fds.extend(self.environment.changes(now).map(readable));
        fds.extend(log_output.as_ref().map(|pipe| writable(pipe.as_fd())));
        match ppoll(&mut fds, timeout.map(TimeSpec::from), None) {
            Ok(_) => {
                let ready: Vec<PollFlags> = fds.iter().map(flags).collect();
                let ready =
                    |range: Range<usize>| ready.get(range).unwrap_or_default().iter().copied();
                if ready(notifier).any(|flags| !flags.is_empty()) {
                    self.notifier.flush();
                }
                self.sockets_shut_down |= ready(sockets).any(|flags| !flags.is_empty());
                self.notify_sockets.mark_ready(ready(notify_sockets));
                if let Some(server) = &mut self.control {
                    server.mark_ready(ready(control), now);
                }
                self.poll_failed = false;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if !std::mem::replace(&mut self.poll_failed, true) {
                    tracing::error!("failed to wait for events: {}", why(errno));
                }
                self.notify_sockets.mark_all_ready();
                std::thread::sleep(POLL_BACKOFF);
            }
        }
    }
}

/// Flags that nix does not know are not asked for, and so are not returned.
fn flags(fd: &PollFd<'_>) -> PollFlags {
    fd.revents().unwrap_or(PollFlags::empty())
}
