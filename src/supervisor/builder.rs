//! The parts of a supervisor, at a start or after an upgrade.

use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use super::Supervisor;
use super::upgrade::Upgrade;
use crate::config::Config;
use crate::control::Server;
use crate::error::Error;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::history::History;
use crate::machine::{Machine, Readiness};
use crate::sockets::{Reopener, Sockets};
use crate::sys::signals::Signals;
use crate::sys::timer::Timer;
use crate::systemd::{Notifier, Timeouts};
use crate::takeover::Adopted;
use crate::worker::{Environment, NotifySockets, Parents, Spawner};

/// The parts that are opened at a start, and resumed after an upgrade.
pub(super) struct SupervisorBuilder {
    pub(super) machine: Machine,
    pub(super) origin: Duration,
    pub(super) min_fd: RawFd,
    pub(super) signals: Signals,
    pub(super) spawner: Spawner,
    pub(super) notify_sockets: NotifySockets,
    pub(super) notifier: Notifier,
    pub(super) history: History,
    pub(super) log: LogFile,
    pub(super) sockets: Sockets,
    pub(super) pid_file: Option<PidFile>,
    pub(super) status_file: Option<StatusFile>,
    pub(super) control: Option<Server>,
    pub(super) adopted: Adopted,
}

impl SupervisorBuilder {
    pub(super) fn assemble(self, config: Config) -> Supervisor {
        let account = config
            .identity
            .as_ref()
            .and_then(|who| who.account.as_ref());
        Supervisor {
            machine: self.machine,
            origin: self.origin,
            min_fd: self.min_fd,
            signals: self.signals,
            timer: Timer::new().ok(),
            spawner: self.spawner,
            notify_sockets: self.notify_sockets,
            environment: Environment::new(config.envdir, account),
            live: config.live,
            notifier: self.notifier,
            history: self.history,
            log: self.log,
            log_name: config
                .log_file
                .map(|target| target.to_string())
                .unwrap_or_default(),
            launcher: None,
            last_failure: None,
            status_file: self.status_file,
            status_due: false,
            status_retry: None,
            poll_failed: false,
            check_command: config.check_command,
            check: None,
            aborted: Vec::new(),
            resumed: false,
            was_late: false,
            upgrade: Upgrade::new(config.command_line),
            control: self.control,
            reopener: Reopener::new(
                &self.sockets,
                config.path_access,
                config.backlog,
                self.min_fd,
            ),
            file_reload: None,
            sockets_shut_down: false,
            adopted: self.adopted,
            sockets: self.sockets,
            pid_file: self.pid_file,
        }
    }
}

/// The option that needs notifications of workers, if one does.
pub(super) fn needs_notifications(config: &Config) -> Option<&'static str> {
    if config.readiness == Readiness::Notify {
        return Some("--ready=notify");
    }
    config.worker_watchdog.map(|_| "--worker-watchdog")
}

/// Directories in which the directory of notification sockets may be made.
pub(super) fn runtime_parents(config: &Config) -> Parents {
    let beside = config.control.as_deref().and_then(Path::parent);
    Parents {
        daemonized: config.daemonize,
        beside_control: beside
            .filter(|dir| !dir.as_os_str().is_empty())
            .map(Path::to_owned),
    }
}

/// The time-outs that the notifier passes on to systemd.
pub(super) fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        start: match config.readiness {
            Readiness::Notify => config.start_timeout,
            Readiness::Auto | Readiness::Alive => config.interval,
        },
        attempts_are_limited: config.start_attempts > 0,
        stop: config.stop_timeout,
    }
}

/// Refuses options that contradict each other. Must be called before anything is opened.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let refuse = |message: &str| Err(Error::Usage(message.to_owned()));
    if config.daemonize && config.log_file.is_none() {
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
