//! What the supervisor is to do: typed, and complete before anything is touched.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::files::LogTarget;
use crate::log::Destination;
use crate::machine::{LiveSettings, Readiness, Rules};
use crate::sockets::{PathAccess, PathSpec, PortSpec};
use crate::types::{Identity, Signal, parse_seconds};

/// Everything [`run`](crate::run) needs to know. [`Config::new`] has the defaults of the command
/// line; change what differs.
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
pub struct Config {
    /// The server program: a path, or a name to look for in the worker's `PATH`.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// TCP and UDP sockets to bind, in the order in which workers see them.
    pub ports: Vec<PortSpec>,
    /// Unix stream sockets to bind; workers see them after the ports.
    pub paths: Vec<PathSpec>,
    /// Who may connect to them.
    pub path_access: PathAccess,
    /// listen(2) backlog; 0: the system's maximum.
    pub backlog: u32,
    /// Workers start in this directory; it is looked up anew each time.
    pub dir: Option<PathBuf>,
    /// How long a new worker must live to count as started, and the least time between two
    /// attempts.
    pub interval: Duration,
    /// Sent to old workers after a reload.
    pub signal_on_hup: Signal,
    /// Sent to all workers when the supervisor gets SIGTERM.
    pub signal_on_term: Signal,
    /// Holds the supervisor's pid, and a lock for as long as it lives.
    pub pid_file: Option<PathBuf>,
    /// Lists the live workers: a line `GENERATION:PID` for each.
    pub status_file: Option<PathBuf>,
    /// A directory with a file per environment variable of the workers.
    pub envdir: Option<PathBuf>,
    /// Automatic restarts and the kill-old-delay.
    pub live: LiveConfig,
    /// Where standard output and standard error of supervisor and workers go.
    pub log: Option<LogTarget>,
    /// Where the supervisor's own lines go.
    pub log_target: Destination,
    /// Whether to leave the terminal and run in the background. Needs `log`.
    pub daemonize: bool,
    /// How this program is called, so that it can make way for its next release, which is to do the
    /// same. None: it is more than a supervisor, and cannot be upgraded in place.
    pub called: Option<CommandLine>,
    /// A reload is given up after so many failed attempts; 0: never.
    pub start_attempts: u32,
    /// SIGKILL for a worker that has not left so long after its signal. None: never, unless it was
    /// never ready or is stuck: then after 10 s.
    pub stop_timeout: Option<Duration>,
    /// A shell command that is run before each reload, as a worker would be; if it fails, no worker
    /// is started.
    pub check_command: Option<OsString>,
    /// How long it may take.
    pub check_timeout: Duration,
    /// Where to listen for those who want to know, or to have something done: see [`control`](crate::control).
    pub control: Option<PathBuf>,
    /// What makes a new worker count as started.
    pub readiness: Readiness,
    /// With [`Readiness::Notify`], how long it has for that.
    pub start_timeout: Duration,
    /// Who workers are; none: who the supervisor is.
    pub identity: Option<Identity>,
    /// A worker has to ping (`WATCHDOG=1`) at least this often, from its readiness on, or it is
    /// taken to be stuck, and replaced. None: it need not.
    pub worker_watchdog: Option<Duration>,
}

impl Config {
    /// A supervisor for `program` with the defaults of the command line and no sockets.
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
            log: None,
            log_target: Destination::Auto,
            daemonize: false,
            called: None,
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

    /// The machine's rules, as far as they come from here and not from the envdir.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            interval: self.interval,
            readiness: self.readiness,
            start_timeout: self.start_timeout,
            worker_watchdog: self.worker_watchdog,
            signal_on_hup: self.signal_on_hup,
            signal_on_term: self.signal_on_term,
            start_attempts: self.start_attempts,
            // Somebody waits for a verdict on the first generation, and it has to come.
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

/// A program's name, as it was called, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Its first argument, a path or a name that is looked up in `$PATH`.
    pub program: OsString,
    /// The others.
    pub args: Vec<OsString>,
}

/// The settings that an envdir may change while the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// Whether a new generation is started at regular intervals.
    pub auto_restart: bool,
    /// From a generation's readiness to the next automatic one. Zero: the default.
    pub auto_restart_interval: Duration,
    /// From a new generation's readiness to the signal to the old ones. None: 5 s with automatic
    /// restarts, else nothing.
    pub kill_old_delay: Option<Duration>,
}

impl LiveConfig {
    /// What these settings become under the variables `ENABLE_AUTO_RESTART`,
    /// `AUTO_RESTART_INTERVAL` and `KILL_OLD_DELAY`, and what is wrong with those of them that make
    /// no sense and so change nothing: their names, each with the reason.
    ///
    /// `ENABLE_AUTO_RESTART` means yes unless it is empty or `0`. An empty time is 0.
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

    /// Fills in what was left open.
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

/// `--auto-restart-interval` when nobody says otherwise.
pub const DEFAULT_AUTO_RESTART_INTERVAL: Duration = Duration::from_secs(360);

/// `--start-timeout` when nobody says otherwise.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);

/// `--check-timeout` when nobody says otherwise.
pub const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// `--kill-old-delay` with automatic restarts, when nobody says otherwise.
const AUTO_RESTART_GRACE: Duration = Duration::from_secs(5);
