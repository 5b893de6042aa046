//! The loop: wait, turn the kernel's news into events, carry out what the machine decides.
//!
//! One thread and one ppoll(2). Its only time-out is the next deadline; without one it sleeps
//! until something happens. In a turn signals come first, then dead children, then the clock, so
//! that a worker that died just before its time was up has failed, and is not called ready.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::config::{Config, LiveConfig};
use crate::error::{Error, Why};
use crate::files::{LogFile, PidFile, StatusFile};
use crate::log;
use crate::machine::{Action, Event, Generation, Machine, Report, Time};
use crate::sockets::{self, FIRST_FD, Plan, Sockets};
use crate::sys;
use crate::sys::daemon::{Launcher, Side, Verdict};
use crate::sys::signals::Signals;
use crate::systemd::{self, Notifier, Patience, Store};
use crate::units::{Pid, Signal};
use crate::worker::{Environment, Spawner};

/// Runs a supervisor until it is told to stop, and returns its exit status: 0 stopped as asked, 1
/// gave up. With [`Config::daemonize`] it is the calling process that returns, once the first
/// generation is ready or has failed.
///
/// This takes the whole process over: its signals, its children, its standard streams with
/// [`Config::log`], and every descriptor from 3 up. Call it from `main`, while there is one thread
/// and before anything is opened.
///
/// # Errors
/// Everything that keeps the supervisor from starting; [`Error::exit_status`] goes with it. Once
/// the first worker has been started there are no more errors: they are logged, and survived.
///
/// ```standalone_crate
/// use server_starter::{Config, run};
///
/// // A worker that stops its supervisor as soon as it runs.
/// let worker = r#"kill -TERM $PPID; exec sleep 60"#;
/// let mut config = Config::new("sh", ["-c", worker]);
/// config.ports.push("127.0.0.1:0".parse()?);
/// assert_eq!(run(config)?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run(config: Config) -> Result<u8, Error> {
    if config.daemonize && config.log.is_none() {
        let message = "--log-file must be given together with --daemonize";
        return Err(Error::Usage(message.to_owned()));
    }
    let inherited = sockets::take_inherited()?;
    sys::fd::close_on_exec_from(FIRST_FD);
    let plan = Plan::make(
        &config.ports,
        &config.paths,
        inherited,
        systemd::store::is_ours,
    )?;
    if !config.daemonize {
        return Supervisor::start(config, plan).map(Supervisor::run);
    }
    let side = sys::daemon::detach(plan.above());
    match side.map_err(|source| Error::System {
        action: "fork",
        source,
    })? {
        Side::Caller(Verdict { code, message }) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            Ok(code)
        }
        Side::Daemon(launcher) => match Supervisor::start(config, plan) {
            Ok(mut supervisor) => {
                supervisor.launcher = Some(launcher);
                Ok(supervisor.run())
            }
            Err(error) => {
                // The caller prints it, or could be gone before we have.
                launcher.tell(error.exit_status(), &format!("start_server: {error}"));
                Ok(error.exit_status())
            }
        },
    }
}

/// Everything a running supervisor holds. The order matters when it is dropped: the files go
/// first; then the pid file's lock, which says that we are alive; and until all is done no signal
/// can interrupt us.
struct Supervisor {
    machine: Machine,
    origin: Instant,
    spawner: Spawner,
    environment: Environment,
    live: LiveConfig,
    notifier: Notifier,
    log: LogFile,
    log_name: String,
    launcher: Option<Launcher>,
    /// The latest reason why a worker did not start, for whoever waits for the first one.
    last_failure: Option<String>,
    status_file: Option<StatusFile>,
    _sockets: Sockets,
    _pid_file: Option<PidFile>,
    signals: Signals,
}

impl Supervisor {
    /// Binds and opens everything. After an error nothing is left behind.
    fn start(config: Config, plan: Plan) -> Result<Supervisor, Error> {
        let origin = Instant::now();
        tracing::info!("start_server (pid:{}) starting now...", std::process::id());
        // The lock comes first: what a running supervisor uses is not touched.
        let above = plan.above();
        let pid_file = config.pid_file.as_deref();
        let mut pid_file = pid_file
            .map(|path| PidFile::lock(path, above))
            .transpose()?;
        plan.stale()
            .iter()
            .for_each(|name| systemd::store::forget(name));
        let mut sockets = plan.open(&config.path_access, config.backlog)?;
        let status_file = config
            .status_file
            .as_deref()
            .map(StatusFile::prepare)
            .transpose()?;
        let spawner = Spawner::new(
            &config.program,
            &config.args,
            config.dir.as_deref(),
            sockets.server_starter_port(),
            sockets.numbers(),
        )?;
        let signals = Signals::hear(above).map_err(|source| Error::System {
            action: "read signals",
            source,
        })?;
        // Signals are heard: now we may be found.
        if let Some(file) = &mut pid_file {
            file.announce()?;
        }
        if config.daemonize && !sockets.on_stdin() {
            stdin_from_null().map_err(|source| Error::System {
                action: "open /dev/null",
                source,
            })?;
        }
        if let Some(store) = Store::ours() {
            sockets.keep_bound(|bound| store.keep(bound));
        }
        let now = origin.elapsed();
        let notifier = Notifier::new(patience(&config), now);
        if config.daemonize && systemd::is_listening() {
            tracing::warn!(
                "--daemonize is not needed under systemd: leave it out and set Type=notify"
            );
            notifier.announce_daemon();
        }
        let log = LogFile::open(config.log.as_ref(), above, config.daemonize, now)?;
        Ok(Supervisor {
            machine: Machine::new(config.rules()),
            origin,
            spawner,
            environment: Environment::new(config.envdir),
            live: config.live,
            notifier,
            log,
            log_name: config
                .log
                .map(|target| target.to_string())
                .unwrap_or_default(),
            launcher: None,
            last_failure: None,
            status_file,
            _sockets: sockets,
            _pid_file: pid_file,
            signals,
        })
    }

    fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// Turns until the machine has come to its end; returns the exit status.
    fn run(mut self) -> u8 {
        let code = loop {
            if let Some(code) = self.turn() {
                break code;
            }
            self.wait();
        };
        let now = self.now();
        std::mem::replace(&mut self.log, LogFile::Inherited).close(now);
        let verdict = self.launcher.take().map(|launcher| {
            let reason = self.last_failure.take();
            let reason = reason.unwrap_or_else(|| "stopped before it was ready".to_owned());
            (
                launcher,
                format!("start_server: {reason} (log: {})", self.log_name),
            )
        });
        drop(self); // whoever waits for the verdict finds nothing left
        if let Some((launcher, message)) = verdict {
            launcher.tell(code.max(1), &message);
        }
        code
    }

    /// Sleeps until there is news or a deadline.
    fn wait(&self) {
        let deadline = [
            self.machine.deadline(),
            self.log.deadline(),
            self.notifier.deadline(),
        ]
        .into_iter()
        .flatten()
        .min();
        let left = deadline.map(|at| TimeSpec::from(at.saturating_sub(self.now())));
        let pending = log::pending();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.environment
                .changes()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        fds.extend(
            pending
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)),
        );
        match ppoll(&mut fds, left, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => tracing::error!("failed to wait for news: {}", errno.desc()),
        }
    }

    /// Takes in everything that has happened. The end: the exit status.
    fn turn(&mut self) -> Option<u8> {
        log::flush();
        while let Some(signal) = self.signals.next() {
            let event = match signal {
                Signal::HUP => Event::Hup,
                Signal::TERM | Signal::INT | Signal::QUIT => Event::Stop(signal),
                Signal::USR1 => {
                    self.reopen_log();
                    continue;
                }
                Signal::CHLD => continue, // the dead are counted below, whoever called
                _ => {
                    tracing::info!("received {signal}, which means nothing here");
                    continue;
                }
            };
            if let Some(code) = self.handle(event) {
                return Some(code);
            }
        }
        // One at a time: what the machine decides about one death must not reach a pid whose
        // owner has been reaped in the same breath.
        while let Some((pid, status)) = sys::process::next_dead_child() {
            let now = self.now();
            if self.machine.has_worker(pid) {
                if let Some(code) = self.handle(Event::Exited(pid, status)) {
                    return Some(code);
                }
            } else if !self.log.died(pid, now) {
                tracing::debug!(pid, status, "reaped an orphan");
            }
        }
        let now = self.now();
        self.log.tick(now);
        self.notifier.tick(now);
        let due = self.machine.deadline().is_some_and(|at| at <= now);
        if due || self.environment.changed() {
            self.handle(Event::Tick)
        } else {
            None
        }
    }

    /// Hands an event to the machine and carries out its actions, and those of the events that
    /// come of them.
    fn handle(&mut self, event: Event) -> Option<u8> {
        // Whatever may start a worker, or a delay, does so by the envdir of this moment.
        let tuned = self.environment.refresh(&self.live).map(Event::Tuned);
        let mut events: VecDeque<Event> = tuned.into_iter().chain([event]).collect();
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(event, self.now()) {
                match action {
                    Action::Spawn(generation) => events.push_front(self.spawn(generation)),
                    Action::Signal(pid, signal) => self.signal(pid, signal),
                    Action::PublishStatus => self.publish_status(),
                    Action::Report(report) => self.report(&report),
                    Action::Exit(code) => return Some(code),
                }
            }
        }
        None
    }

    fn spawn(&mut self, generation: Generation) -> Event {
        match self.spawner.spawn(generation, &self.environment) {
            Ok(pid) => Event::Spawned(pid),
            Err(failure) => {
                tracing::error!(generation, "{}", failure.reason);
                self.notifier.attempt_failed(&failure.reason);
                self.last_failure = Some(failure.reason);
                Event::SpawnFailed(failure.kind)
            }
        }
    }

    fn signal(&self, pid: Pid, signal: Signal) {
        if let Err(errno) = sys::process::kill(pid, signal) {
            tracing::error!(
                pid,
                "failed to send {signal} to worker {pid}: {}",
                errno.desc()
            );
        }
    }

    fn publish_status(&mut self) {
        if let Some(file) = &mut self.status_file {
            if let Err(e) = file.publish(self.machine.live()) {
                tracing::error!("failed to write status file {file}: {}", Why(&e));
            }
        }
    }

    fn report(&mut self, report: &Report) {
        log::tell(report);
        self.notifier.report(report, self.machine.current());
        match report {
            Report::Ready { .. } => {
                if let Some(launcher) = self.launcher.take() {
                    launcher.tell(0, "");
                }
            }
            Report::FailedToStart { .. } => self.last_failure = log::line(report),
            _ => {}
        }
    }

    fn reopen_log(&self) {
        match self.log.reopen() {
            Ok(()) => tracing::debug!("log file reopened"),
            Err(e) => tracing::error!("failed to reopen log file {}: {}", self.log_name, Why(&e)),
        }
    }
}

/// How long a start and a stop may take, as far as the configuration bounds them.
fn patience(config: &Config) -> Patience {
    Patience {
        start: config.interval,
        attempts_are_limited: config.start_attempts > 0,
        stop: config.stop_timeout,
    }
}

fn stdin_from_null() -> std::io::Result<()> {
    sys::fd::redirect(std::fs::File::open("/dev/null")?, libc::STDIN_FILENO)
}
