//! The start of a supervisor: everything is bound and opened. The order is such that files of another
//! supervisor are not touched, and that nothing is left behind after an error.

use std::io::Write;

use super::Supervisor;
use super::builder::{SupervisorBuilder, check, needs_notifications, runtime_parents, timeouts};
use super::upgrade;
use crate::config::Config;
use crate::control::Server;
use crate::error::Error;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::log;
use crate::sockets::{self, FIRST_FD, Plan, Sockets};
use crate::sys;
use crate::sys::daemon::{LaunchResult, Side};
use crate::sys::fd::StrayFds;
use crate::sys::signals::Signals;
use crate::systemd::{self, Notifier, Store};
use crate::takeover::TakeOver;
use crate::worker::{NotifySockets, Spawner};

/// Runs a supervisor until it is told to stop. Returns its exit status: 0 if it was told to stop, 1 if it
/// gave up. With [`Config::daemonize`] the calling process returns once the first generation is
/// ready or has failed.
///
/// The supervisor takes the whole process over: its signals (which stay blocked), its children, its standard
/// streams with [`Config::log_file`], and every descriptor from 3 up. Call this function from `main`, while
/// there is one thread and before anything is opened, and exit when it returns.
///
/// # Errors
/// Everything that keeps the supervisor from starting; exit with [`Error::exit_status`]. From the
/// start of the first worker on, errors are logged, and the supervisor goes on.
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
    if let Some(saved_state) = sys::reexec::take_saved_state() {
        return upgrade::resume(config, saved_state).map(Supervisor::run);
    }
    sys::signals::ignore_file_size_signal();
    sys::signals::block_if_process_1();
    check(&config)?;
    sys::limits::raise();
    sys::manager_pid::translate();
    let inherited = sockets::take_inherited()?;
    let plan = Plan::make(
        &config.ports,
        &config.paths,
        inherited,
        systemd::store::is_ours,
    )?;
    // A daemon must not keep the pipes and locks of its caller open.
    let strays = if config.daemonize {
        StrayFds::Close
    } else {
        StrayFds::CloseOnExec
    };
    sys::fd::handle_stray_fds(FIRST_FD, &plan.inherited_numbers(), strays);
    if !config.daemonize {
        return Supervisor::start(config, plan).map(Supervisor::run);
    }
    let side = sys::daemon::detach(plan.min_fd());
    match side.map_err(|source| Error::System {
        action: "fork",
        source,
    })? {
        Side::Caller(LaunchResult { code, message }) => {
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
                // The launching process prints the error: it would return before this process could.
                launcher.report(error.exit_status(), &format!("start_server: {error}"));
                Ok(error.exit_status())
            }
        },
    }
}

impl Supervisor {
    /// Binds and opens everything.
    fn start(config: Config, mut plan: Plan) -> Result<Supervisor, Error> {
        tracing::info!("start_server (pid:{}) starting now...", std::process::id());
        let min_fd = plan.min_fd();
        log::to_stderr(min_fd);
        // From here on, signals are pending until the loop runs.
        let signals = Signals::open(min_fd).map_err(|source| Error::System {
            action: "read signals",
            source,
        })?;
        // The lock comes first: if another supervisor has it, its sockets and files are not touched.
        let lock = |path| PidFile::lock(path, min_fd);
        let mut pid_file = config.pid_file.as_deref().map(lock).transpose()?;
        plan.stale()
            .iter()
            .for_each(|name| systemd::store::forget(name));
        let status_path = config.status_file.as_deref();
        let mut found = TakeOver::find(status_path, &mut plan, min_fd);
        let sockets = plan.open(&config.path_access, config.backlog);
        let mut sockets = sockets.map_err(|error| found.explain(error))?;
        found.tell();
        let keep = !found.workers.is_empty();
        let prepare = |path| StatusFile::prepare(path, keep);
        let status_file = status_path.map(prepare).transpose()?;
        let spawner = Spawner::for_config(&config, &sockets)?;
        let owner = config.identity.as_ref();
        let notify_sockets = NotifySockets::prepare(
            needs_notifications(&config),
            owner,
            runtime_parents(&config),
            min_fd,
        )?;
        let control = config.control.as_deref();
        let control = control.map(|path| Server::open(path, min_fd)).transpose()?;
        // All sockets are on their numbers now.
        log::connect(config.log_target, config.log_file.is_some());
        match Store::ours() {
            Some(store) => sockets.store_bound(|bound| store.add(bound)),
            None => Store::hint(sockets.bound()),
        }
        if let Some(file) = &mut pid_file {
            file.announce()?;
        }
        // Workers that were taken over have lived before.
        let oldest = found.oldest();
        let origin = sys::clock::monotonic().saturating_sub(oldest);
        let now = sys::clock::monotonic().saturating_sub(origin);
        let mut notifier = Notifier::new(timeouts(&config), now);
        if config.daemonize {
            finish_daemon(&sockets, &mut notifier)?;
        }
        let log = LogFile::open(config.log_file.as_ref(), min_fd, config.daemonize, now)?;
        let parts = SupervisorBuilder {
            machine: found.machine(config.rules()),
            origin,
            min_fd,
            signals,
            spawner,
            notify_sockets,
            notifier,
            history: found.history(),
            log,
            sockets,
            pid_file,
            status_file,
            control,
            adopted: found.adopt(),
        };
        let mut supervisor = parts.assemble(config);
        if keep {
            supervisor.publish_taken_over();
        }
        Ok(supervisor)
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
    null.and_then(|null| Ok(nix::unistd::dup2_stdin(null)?))
        .map_err(|source| Error::System {
            action: "open /dev/null",
            source,
        })
}
