//! The options of a supervisor as types. They are complete before anything is opened.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::files::LogFileSpec;
use crate::log::LogTarget;
use crate::machine::{LiveSettings, Readiness, Rules};
use crate::sockets::{PathAccess, PathSpec, PortSpec};
use crate::types::{Identity, Signal, parse_seconds};

/// The options of [`run`](crate::run). [`Config::new`] has the defaults of the command line; set the fields
/// that differ.
///
/// ```
/// use server_starter::Config;
/// use std::time::Duration;
///
/// let mut config = Config::new("./my-server", ["--verbose"]);
/// config.ports.push("127.0.0.1:8080".parse()?);
/// config.interval = Duration::from_millis(200);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The server program: a path, or a name that is looked up in the worker's `PATH`.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// TCP and UDP sockets to bind. Workers see them in this order.
    pub ports: Vec<PortSpec>,
    /// Unix stream sockets to bind; workers see them after the ports.
    pub paths: Vec<PathSpec>,
    /// Mode, owner and group of the files of those sockets.
    pub path_access: PathAccess,
    /// The backlog of listen(2). 0 stands for the system's maximum.
    pub backlog: u32,
    /// The directory in which workers start. It is looked up again for each worker.
    pub dir: Option<PathBuf>,
    /// How long a new worker must live to count as started, and the least time from one attempt to
    /// start a worker to the next.
    pub interval: Duration,
    /// The signal that old workers get after a reload.
    pub signal_on_hup: Signal,
    /// The signal that all workers get when the supervisor gets SIGTERM.
    pub signal_on_term: Signal,
    /// A file with the supervisor's pid, which is locked as long as the supervisor lives.
    pub pid_file: Option<PathBuf>,
    /// A file with a line `GENERATION:PID` for each live worker.
    pub status_file: Option<PathBuf>,
    /// A directory with a file per environment variable of the workers.
    pub envdir: Option<PathBuf>,
    /// Automatic restarts and the kill-old-delay.
    pub live: LiveConfig,
    /// Where standard output and standard error of supervisor and workers go. If `None`, they stay as
    /// they are.
    pub log_file: Option<LogFileSpec>,
    /// Where the supervisor's own log lines go.
    pub log_target: LogTarget,
    /// Whether to leave the terminal and run in the background. This needs `log_file`.
    pub daemonize: bool,
    /// The command line of this process, with which the next release of the program is started in its
    /// place. If `None`, the supervisor cannot be upgraded in place: right for a program that is more
    /// than a supervisor.
    pub command_line: Option<CommandLine>,
    /// A reload is given up after this many failed attempts. 0 stands for no limit.
    pub start_attempts: u32,
    /// How long after its signal a worker gets SIGKILL. If `None`, only a worker that was never ready
    /// or is stuck gets it, after 10 s.
    pub stop_timeout: Option<Duration>,
    /// A shell command that is run before each reload, in a worker's environment. If it fails, the
    /// reload has failed.
    pub check_command: Option<OsString>,
    /// How long the check command may take.
    pub check_timeout: Duration,
    /// The path of the control socket, for `--restart`, `--stop`, `--status`, `--upgrade` and other
    /// Varlink clients.
    pub control: Option<PathBuf>,
    /// What makes a new worker count as started.
    pub readiness: Readiness,
    /// With [`Readiness::Notify`], how long a new worker has to say that it is ready.
    pub start_timeout: Duration,
    /// User and groups of workers. If `None`, those of the supervisor.
    pub identity: Option<Identity>,
    /// The longest time between two pings (`WATCHDOG=1`) of a ready worker. A worker that exceeds it is
    /// taken to be stuck, and replaced. If `None`, workers need not ping.
    pub worker_watchdog: Option<Duration>,
}

impl Config {
    /// The options for `program`, with the defaults of the command line and no sockets.
    pub fn new<P, A>(program: P, args: A) -> Config
    where
        P: Into<OsString>,
        A: IntoIterator,
        A::Item: Into<OsString>,
    {
        Config {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            ports: Vec::new(),
            paths: Vec::new(),
            path_access: PathAccess::default(),
            backlog: 0,
            dir: None,
            interval: Duration::from_secs(1),
            signal_on_hup: Signal::TERM,
            signal_on_term: Signal::TERM,
            pid_file: None,
            status_file: None,
            envdir: None,
            live: LiveConfig {
                auto_restart: false,
                auto_restart_interval: DEFAULT_AUTO_RESTART_INTERVAL,
                kill_old_delay: None,
            },
            log_file: None,
            log_target: LogTarget::Auto,
            daemonize: false,
            command_line: None,
            start_attempts: 0,
            stop_timeout: None,
            check_command: None,
            check_timeout: DEFAULT_CHECK_TIMEOUT,
            control: None,
            readiness: Readiness::Auto,
            start_timeout: DEFAULT_START_TIMEOUT,
            worker_watchdog: None,
            identity: None,
        }
    }

    /// The rules of the machine. The envdir may change the live settings among them.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            interval: self.interval,
            readiness: self.readiness,
            start_timeout: self.start_timeout,
            worker_watchdog: self.worker_watchdog,
            signal_on_hup: self.signal_on_hup,
            signal_on_term: self.signal_on_term,
            start_attempts: self.start_attempts,
            // The launching process waits for the result of the first start, which has to end.
            first_start_attempts: match self.daemonize {
                true => self.start_attempts.max(1),
                false => self.start_attempts,
            },
            check: self.check_command.as_ref().map(|_| self.check_timeout),
            stop_timeout: self.stop_timeout,
            live_settings: self.live.live_settings(),
        }
    }
}

/// The command line of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The first argument: a path, or a name that is looked up in `$PATH`.
    pub program: OsString,
    /// The other arguments.
    pub args: Vec<OsString>,
}

/// The settings that an envdir may change while the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveConfig {
    /// Whether a new generation is started at regular intervals.
    pub auto_restart: bool,
    /// The time from a generation's readiness to the next automatic start. Zero stands for the default.
    pub auto_restart_interval: Duration,
    /// The time from a new generation's readiness to the signal to the old ones. If `None`, 5 s with
    /// automatic restarts, else zero.
    pub kill_old_delay: Option<Duration>,
}

impl LiveConfig {
    /// These settings with the values of the variables `ENABLE_AUTO_RESTART`, `AUTO_RESTART_INTERVAL` and
    /// `KILL_OLD_DELAY`. Values that are not valid change nothing; they are returned as the names of their
    /// variables, each with the reason.
    ///
    /// `ENABLE_AUTO_RESTART` means yes unless it is empty or `0`. An empty time is zero.
    pub fn with_variables<'a>(
        self,
        variable: impl Fn(&str) -> Option<&'a OsStr>,
    ) -> (LiveConfig, Vec<(&'static str, String)>) {
        let mut live = self;
        let mut complaints = Vec::new();
        let mut seconds = |name: &'static str| match variable(name)?.to_str() {
            Some("") => Some(Duration::ZERO),
            Some(text) => parse_seconds(text)
                .map_err(|e| complaints.push((name, format!("'{text}' is {e}"))))
                .ok(),
            None => {
                complaints.push((name, "not a time, not even text".to_owned()));
                None
            }
        };
        if let Some(interval) = seconds("AUTO_RESTART_INTERVAL") {
            live.auto_restart_interval = interval;
        }
        if let Some(delay) = seconds("KILL_OLD_DELAY") {
            live.kill_old_delay = Some(delay);
        }
        if let Some(value) = variable("ENABLE_AUTO_RESTART") {
            live.auto_restart = !value.is_empty() && value != "0";
        }
        (live, complaints)
    }

    /// The settings with all defaults filled in.
    pub(crate) fn live_settings(&self) -> LiveSettings {
        let interval = match self.auto_restart_interval.is_zero() {
            true => DEFAULT_AUTO_RESTART_INTERVAL,
            false => self.auto_restart_interval,
        };
        let grace = if self.auto_restart {
            AUTO_RESTART_GRACE
        } else {
            Duration::ZERO
        };
        LiveSettings {
            auto_restart: self.auto_restart.then_some(interval),
            kill_old_delay: self.kill_old_delay.unwrap_or(grace),
        }
    }
}

/// The default of `--auto-restart-interval`.
pub const DEFAULT_AUTO_RESTART_INTERVAL: Duration = Duration::from_secs(360);

/// The default of `--start-timeout`.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);

/// The default of `--check-timeout`.
pub const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The default of `--kill-old-delay` with automatic restarts.
const AUTO_RESTART_GRACE: Duration = Duration::from_secs(5);
