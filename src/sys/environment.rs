//! The environment of this process, and which of its variables other programs inherit, environ(7).

use std::ffi::{OsStr, OsString};

/// The program that a variable is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// The supervisor. Programs that it starts do not inherit the variable.
    Supervisor,
    /// A worker: the supervisor sets the variable for each, whatever is inherited or in the envdir.
    Worker,
    /// The supervisor, for which systemd sets it, and a worker, for which the supervisor does. Programs do
    /// not inherit the variable, and the envdir cannot set it.
    Both,
}

/// All variables that programs do not simply inherit, each with the reason.
const VARIABLES: [(&str, For); 14] = [
    // A worker's sockets and number. A supervisor may be a worker of another one.
    ("SERVER_STARTER_PORT", For::Worker),
    ("SERVER_STARTER_GENERATION", For::Worker),
    // sd_notify(3): what a worker wrote to systemd's socket would be taken for the supervisor's.
    ("NOTIFY_SOCKET", For::Both),
    // sd_watchdog_enabled(3): systemd watches the supervisor, the supervisor watches workers.
    ("WATCHDOG_PID", For::Both),
    ("WATCHDOG_USEC", For::Both),
    // sd_listen_fds(3): a worker's sockets are on other numbers.
    ("LISTEN_PID", For::Both),
    ("LISTEN_PIDFDID", For::Both),
    ("LISTEN_FDS", For::Both),
    ("LISTEN_FDNAMES", For::Both),
    // An extension of the crate listenfd. With it, the crate would look for inherited sockets elsewhere.
    ("LISTEN_FDS_FIRST_FD", For::Supervisor),
    // systemd.exec(5): the main process of the unit is the supervisor.
    ("MAINPID", For::Supervisor),
    ("MAINPIDFDID", For::Supervisor),
    // systemd.exec(5): the fd store has the supervisor's sockets.
    ("FDSTORE", For::Supervisor),
    // The state that one release of this program saves for the next.
    (STATE, For::Supervisor),
];

/// The number of the descriptor with the saved state, see [`reexec`](super::reexec).
pub(super) const STATE: &str = "START_SERVER_STATE";

/// The environment that programs inherit from the supervisor.
pub(crate) fn to_pass_on() -> Vec<(OsString, OsString)> {
    let inherited = |name: &OsStr| matches!(purpose(name), None | Some(For::Worker));
    let own = std::env::vars_os();
    own.filter(|(name, _)| inherited(name)).collect()
}

/// Whether the supervisor sets this variable for each worker.
pub(crate) fn is_set_for_workers(name: &OsStr) -> bool {
    matches!(purpose(name), Some(For::Worker | For::Both))
}

fn purpose(name: &OsStr) -> Option<For> {
    let found = VARIABLES.iter().find(|(known, _)| name == *known);
    found.map(|(_, purpose)| *purpose)
}

/// Removes the variables of sd_listen_fds(3). Must be called while there is one thread.
pub(crate) fn unset_listen_fds() {
    let names = VARIABLES.iter().map(|(name, _)| *name);
    names
        .filter(|name| name.starts_with("LISTEN_"))
        .for_each(unset);
}

/// Sets a variable. Must be called while there is one thread.
pub(crate) fn set(name: &str, value: &str) {
    // SAFETY: there is one thread, as for `unset`.
    unsafe { std::env::set_var(name, value) };
}

/// Removes a variable. Must be called while there is one thread.
pub(crate) fn unset(name: &str) {
    // SAFETY: no other thread reads the environment: there is one thread, as `run` requires of its caller.
    unsafe { std::env::remove_var(name) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_listed_once() {
        let mut names = VARIABLES.map(|(name, _)| name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn variables_of_systemd_are_neither_inherited_nor_in_the_envdir() {
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"] {
            assert!(is_set_for_workers(OsStr::new(name)), "{name}");
        }
        for name in ["FDSTORE", "PATH"] {
            assert!(!is_set_for_workers(OsStr::new(name)), "{name}");
        }
    }
}
