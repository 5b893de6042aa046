//! From a configuration to a running supervisor: everything is bound and opened here, in an order
//! in which nothing is touched before it is certain to be ours, and nothing is left after an error.

use std::io::Write;
use std::os::fd::RawFd;
use std::time::Duration;

use super::Supervisor;
use super::clients::Clients;
use super::upgrade::{self, Upgrade};
use crate::config::Config;
use crate::control::Server;
use crate::error::Error;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::log;
use crate::machine::{Machine, Readiness};
use crate::record::Record;
use crate::sockets::{self, FIRST_FD, Plan, Sockets};
use crate::sys;
use crate::sys::alarm::Alarm;
use crate::sys::daemon::{Side, Verdict};
use crate::sys::fd::Strays;
use crate::sys::signals::Signals;
use crate::systemd::{self, Notifier, Patience, Store};
use crate::worker::{Channels, Environment, Spawner};

/// Runs a supervisor until it is told to stop, and returns its exit status: 0 stopped as asked, 1
/// gave up. With [`Config::daemonize`] it is the calling process that returns, once the first
/// generation is ready or has failed.
///
/// This takes the whole process over: its signals (which stay blocked), its children, its standard
/// streams with [`Config::log`], and every descriptor from 3 up. Call it from `main`, while there
/// is one thread and before anything is opened, and leave when it returns.
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
    if let Some(legacy) = sys::handover::legacy() {
        return upgrade::resume(config, legacy).map(Supervisor::run);
    }
    sys::signals::hold_if_process_1();
    check(&config)?;
    sys::limits::raise();
    let inherited = sockets::take_inherited()?;
    let plan = Plan::make(
        &config.ports,
        &config.paths,
        inherited,
        systemd::store::is_ours,
    )?;
    // A daemon must not keep its caller's pipes and locks.
    let strays = if config.daemonize {
        Strays::Close
    } else {
        Strays::CloseOnExec
    };
    sys::fd::deal_with_strays(FIRST_FD, &plan.inherited_numbers(), strays);
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
                let _ = writeln!(std::io::stderr(), "{message}");
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

pub(super) fn check(config: &Config) -> Result<(), Error> {
    let refuse = |message: &str| Err(Error::Usage(message.to_owned()));
    if config.daemonize && config.log.is_none() {
        return refuse("--log-file must be given together with --daemonize");
    }
    let me = nix::unistd::geteuid();
    if let Some(who) = config.identity.as_ref().filter(|_| !me.is_root()) {
        let message = format!(
            "--user, --group: only root can start workers as user {}, group {} (this is user {me})",
            who.user, who.group
        );
        return Err(Error::NotDone(message));
    }
    if config.pid_file.is_some() && config.pid_file == config.status_file {
        return refuse("--pid-file and --status-file cannot be the same file");
    }
    Ok(())
}

impl Supervisor {
    /// Binds and opens everything. After an error nothing is left behind.
    fn start(config: Config, plan: Plan) -> Result<Supervisor, Error> {
        let origin = sys::clock::monotonic();
        tracing::info!("start_server (pid:{}) starting now...", std::process::id());
        let above = plan.above();
        log::to_stderr(above);
        // From here on a signal waits until we can do what it asks for.
        let signals = Signals::hear(above).map_err(|source| Error::System {
            action: "read signals",
            source,
        })?;
        // The lock comes first: what a running supervisor uses is not touched.
        let lock = |path| PidFile::lock(path, above);
        let mut pid_file = config.pid_file.as_deref().map(lock).transpose()?;
        plan.stale()
            .iter()
            .for_each(|name| systemd::store::forget(name));
        let mut sockets = plan.open(&config.path_access, config.backlog)?;
        let status_file = config
            .status_file
            .as_deref()
            .map(StatusFile::prepare)
            .transpose()?;
        let spawner = Spawner::for_config(&config, &sockets)?;
        let owner = config.identity.as_ref();
        let channels = Channels::prepare(needs_words(&config), owner, config.daemonize, above)?;
        let control = config.control.as_deref();
        let control = control.map(|path| Server::open(path, above)).transpose()?;
        // Every number that sockets will ever want is taken now.
        log::connect(config.log_target, config.log.is_some());
        if let Some(store) = Store::ours() {
            sockets.keep_bound(|bound| store.keep(bound));
        }
        if let Some(file) = &mut pid_file {
            file.announce()?;
        }
        let now = sys::clock::monotonic().saturating_sub(origin);
        let mut notifier = Notifier::new(patience(&config), now);
        if config.daemonize {
            finish_daemon(&sockets, &mut notifier)?;
        }
        let log = LogFile::open(config.log.as_ref(), above, config.daemonize, now)?;
        let parts = Parts {
            machine: Machine::new(config.rules()),
            origin,
            above,
            signals,
            spawner,
            channels,
            notifier,
            record: Record::new(),
            log,
            sockets,
            pid_file,
            status_file,
            clients: Clients::new(control),
        };
        Ok(parts.assemble(config))
    }
}

/// What a supervisor is put together from, be it new or handed over.
pub(super) struct Parts {
    pub(super) machine: Machine,
    pub(super) origin: Duration,
    pub(super) above: RawFd,
    pub(super) signals: Signals,
    pub(super) spawner: Spawner,
    pub(super) channels: Channels,
    pub(super) notifier: Notifier,
    pub(super) record: Record,
    pub(super) log: LogFile,
    pub(super) sockets: Sockets,
    pub(super) pid_file: Option<PidFile>,
    pub(super) status_file: Option<StatusFile>,
    pub(super) clients: Clients,
}

impl Parts {
    pub(super) fn assemble(self, config: Config) -> Supervisor {
        let account = config
            .identity
            .as_ref()
            .and_then(|who| who.account.as_ref());
        Supervisor {
            machine: self.machine,
            origin: self.origin,
            above: self.above,
            signals: self.signals,
            alarm: Alarm::new().ok(),
            spawner: self.spawner,
            channels: self.channels,
            environment: Environment::new(config.envdir, account),
            live: config.live,
            notifier: self.notifier,
            record: self.record,
            log: self.log,
            log_name: config
                .log
                .map(|target| target.to_string())
                .unwrap_or_default(),
            launcher: None,
            last_failure: None,
            status_file: self.status_file,
            status_retry: None,
            deaf: false,
            check_command: config.check_command,
            check: None,
            upgrade: Upgrade::new(config.called),
            clients: self.clients,
            sockets: self.sockets,
            pid_file: self.pid_file,
        }
    }
}

/// The option that cannot do without what workers say.
pub(super) fn needs_words(config: &Config) -> Option<&'static str> {
    if config.readiness == Readiness::Notify {
        return Some("--ready=notify");
    }
    config.worker_watchdog.map(|_| "--worker-watchdog")
}

/// How long a start and a stop may take, as far as the configuration bounds them.
pub(super) fn patience(config: &Config) -> Patience {
    Patience {
        start: match config.readiness {
            Readiness::Notify => config.start_timeout,
            Readiness::Auto | Readiness::Alive => config.interval,
        },
        attempts_are_limited: config.start_attempts > 0,
        stop: config.stop_timeout,
    }
}

fn finish_daemon(sockets: &Sockets, notifier: &mut Notifier) -> Result<(), Error> {
    if systemd::is_listening() {
        tracing::warn!("--daemonize is not needed under systemd: leave it out and set Type=notify");
        notifier.announce_daemon();
    }
    if sockets.on_stdin() {
        return Ok(());
    }
    let null = std::fs::File::open("/dev/null");
    null.and_then(|null| sys::fd::redirect(null, libc::STDIN_FILENO))
        .map_err(|source| Error::System {
            action: "open /dev/null",
            source,
        })
}
