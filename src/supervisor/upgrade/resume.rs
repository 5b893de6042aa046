//! The second half of an upgrade: the new program goes on with the saved state of the old one.

use std::io;
use std::os::unix::process::parent_id;

use super::preflight::UNDERSTOOD;
use super::saved_state::SavedState;
use crate::config::Config;
use crate::control::Server;
use crate::error::Error;
use crate::files::{LogFile, PidFile, StatusFile};
use crate::log;
use crate::machine::Machine;
use crate::sockets::{FIRST_FD, Sockets};
use crate::supervisor::Supervisor;
use crate::supervisor::builder::{self, SupervisorBuilder};
use crate::sys;
use crate::sys::daemon::Launcher;
use crate::sys::fd::StrayFds;
use crate::sys::reexec;
use crate::sys::signals::Signals;
use crate::systemd::Notifier;
use crate::takeover::Adopted;
use crate::worker::{NotifySockets, Spawner};

/// The preflight of an upgrade to this program: checks that this program understands the state of the
/// supervisor that has started it. Returns what that supervisor expects to read.
///
/// # Errors
/// [`Error::NotDone`] if this program could not go on with that state.
pub fn preflight(config: &Config) -> Result<String, Error> {
    builder::check(config)?;
    let saved_state = reexec::take_saved_state();
    let saved_state = saved_state.unwrap_or_else(|| Err(io::Error::other("there is none")));
    let state = read(saved_state)?;
    // A wrapper that starts the program instead of an exec would be the process of the supervisor after the
    // upgrade.
    let (pid, parent) = (state.pid, parent_id());
    if pid != parent {
        let message = format!(
            "started by process {parent}, not by the supervisor, {pid}: a script that stands for this \
             program has to exec it"
        );
        return Err(Error::NotDone(message));
    }
    Ok(UNDERSTOOD.to_owned())
}

fn read(saved_state: io::Result<Vec<u8>>) -> Result<SavedState, Error> {
    let saved_state = saved_state.map_err(|source| Error::System {
        action: "read the state of the supervisor before, which START_SERVER_STATE tells of",
        source,
    })?;
    SavedState::parse(&saved_state).map_err(Error::NotDone)
}

/// Goes on with the saved state, which is that of this very process.
pub(in crate::supervisor) fn resume(
    config: Config,
    saved_state: io::Result<Vec<u8>>,
) -> Result<Supervisor, Error> {
    let state = read(saved_state)?;
    let (pid, ours) = (state.pid, std::process::id());
    if pid != ours {
        let message = format!("this state is for process {pid}, and not for us, {ours}");
        return Err(Error::NotDone(message));
    }
    Supervisor::resume(config, state).map_err(|source| Error::System {
        action: "take over from the release before",
        source,
    })
}

impl Supervisor {
    fn resume(config: Config, state: SavedState) -> io::Result<Supervisor> {
        let (release, min_fd) = (state.release, state.min_fd);
        sys::limits::resume(state.open_files);
        let signals = Signals::resume(state.signals)?;
        state.signal_state.resume();
        let sockets = Sockets::resume(state.sockets)?;
        let owner = config.identity.as_ref();
        let needed = builder::needs_notifications(&config).is_some();
        let parents = builder::runtime_parents(&config);
        let notify_sockets =
            NotifySockets::resume(state.notify_sockets, needed, owner, parents, min_fd)?;
        let pid_file = config.pid_file.as_deref().zip(state.pid_file);
        let pid_file = pid_file.map(|(path, fd)| PidFile::resume(path, fd));
        let pid_file = pid_file.transpose()?;
        let status_file = config.status_file.as_deref();
        let status_file = status_file.map(|path| StatusFile::resume(path, state.status_file));
        let status_file = status_file.transpose()?;
        let control = state.control.map(|server| Server::resume(server, min_fd));
        let control = control.transpose()?;
        let launcher = state.launcher.map(Launcher::resume).transpose()?;
        let adopted = Adopted::resume(state.adopted)?;
        let log = LogFile::resume(config.log_file.as_ref(), min_fd, state.log_command)?;
        // What is adopted is close-on-exec again. Descriptors that the first program inherited and did not
        // know may still be open.
        sys::fd::handle_stray_fds(FIRST_FD, &[], StrayFds::CloseOnExec);

        log::to_stderr(min_fd);
        let spawner = Spawner::for_config(&config, &sockets).map_err(io::Error::other)?;
        log::connect(config.log_target, config.log_file.is_some());
        log::resume(state.log_queue);
        let now = sys::clock::monotonic().saturating_sub(state.origin);
        let mut notifier = Notifier::new(builder::timeouts(&config), now);
        notifier.resume(state.notifier);
        let parts = SupervisorBuilder {
            machine: Machine::resume(config.rules(), state.machine),
            origin: state.origin,
            min_fd,
            signals,
            spawner,
            notify_sockets,
            notifier,
            history: state.history,
            log,
            sockets,
            pid_file,
            status_file,
            control,
            adopted,
        };
        let mut supervisor = parts.assemble(config);
        supervisor.environment.resume(state.envdir);
        supervisor.apply_settings(now);
        supervisor.launcher = launcher;
        supervisor.last_failure = state.last_failure;
        supervisor.status_retry = state.status_retry;
        supervisor.check = state.check;
        supervisor.upgraded(&release);
        Ok(supervisor)
    }
}
