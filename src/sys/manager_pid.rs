//! The pids by which a service manager addresses this process, seen from inside a pid namespace.
//!
//! `PrivatePIDs=` (systemd 257) makes the service process 1 of a namespace of its own, but `LISTEN_PID` and
//! `WATCHDOG_PID` are written outside of it and name the pid there. So does any other runtime that
//! passes the variables on into a container.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::fd::metadata;
use super::pidfd::PidFd;

/// Variables that hold the pid of the process that they are meant for: sd_listen_fds(3),
/// sd_watchdog_enabled(3).
const ADDRESSED: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// Rewrites those variables that are meant for this process under its pid outside, so that they name its
/// pid here. Call before they are read, while there is one thread.
pub(crate) fn translate() {
    let own = std::process::id();
    let value = |name: &str| std::env::var_os(name);
    let exec_pid = value("SYSTEMD_EXEC_PID");
    let listens_here = value("LISTEN_PIDFDID").is_some_and(|id| is_own_pidfd(&id));
    for name in ADDRESSED {
        let Some(pid) = value(name) else {
            continue;
        };
        let by_pidfd = name == "LISTEN_PID" && listens_here;
        if is_meant_for(own, &pid, exec_pid.as_deref()) || by_pidfd {
            super::environment::set(name, &own.to_string());
        }
    }
}

/// As process 1, the process that the service manager has executed is this one.
fn is_meant_for(own: u32, pid: &OsStr, exec_pid: Option<&OsStr>) -> bool {
    own == 1 && exec_pid == Some(pid)
}

/// `LISTEN_PIDFDID` (systemd 259) is the inode of the process's pidfd, which is the same everywhere.
fn is_own_pidfd(id: &OsStr) -> bool {
    let own = PidFd::open(nix::unistd::getpid().as_raw());
    let inode = own.and_then(|own| Ok(metadata(&own.as_fd())?.ino()));
    inode.is_ok_and(|inode| id.to_str().and_then(|id| id.parse().ok()) == Some(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_process_1_is_known_by_the_pid_outside() {
        let (pid, other) = (OsStr::new("4711"), OsStr::new("4712"));
        assert!(is_meant_for(1, pid, Some(pid)));
        assert!(!is_meant_for(1, pid, Some(other)));
        assert!(!is_meant_for(1, pid, None));
        assert!(!is_meant_for(2, pid, Some(pid)));
    }

    #[test]
    fn pidfd_id_of_another_process_is_not_ours() {
        assert!(!is_own_pidfd(OsStr::new("1")));
        assert!(!is_own_pidfd(OsStr::new("x")));
    }
}
