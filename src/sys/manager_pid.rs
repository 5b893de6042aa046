//! `LISTEN_PID` and `WATCHDOG_PID` in a pid namespace.
//!
//! `PrivatePIDs=` (systemd 257) makes the service process 1 of its own pid namespace, but systemd sets
//! `LISTEN_PID` and `WATCHDOG_PID` outside of it, to the pid there. So does any other runtime that passes
//! the variables on into a container.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::fd::metadata;
use super::pidfd::PidFd;

/// Variables with the pid of the process that they are meant for, sd_listen_fds(3) and
/// sd_watchdog_enabled(3).
const ADDRESSED: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// Sets those variables that have this process's pid of the outer namespace to its pid here. Must be called
/// before they are read, while there is one thread.
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

/// Process 1 is the process that the service manager has executed: `SYSTEMD_EXEC_PID` is its outer pid.
fn is_meant_for(own: u32, pid: &OsStr, exec_pid: Option<&OsStr>) -> bool {
    own == 1 && exec_pid == Some(pid)
}

/// `LISTEN_PIDFDID` (systemd 259) is the inode number of the process's pidfd, the same in every namespace.
fn is_own_pidfd(id: &OsStr) -> bool {
    let own = PidFd::open(nix::unistd::getpid().as_raw());
    let inode = own.and_then(|own| Ok(metadata(&own.as_fd())?.ino()));
    inode.is_ok_and(|inode| id.to_str().and_then(|id| id.parse().ok()) == Some(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_meant_for_process_1_if_they_have_its_outer_pid() {
        let (pid, other) = (OsStr::new("4711"), OsStr::new("4712"));
        assert!(is_meant_for(1, pid, Some(pid)));
        assert!(!is_meant_for(1, pid, Some(other)));
        assert!(!is_meant_for(1, pid, None));
        assert!(!is_meant_for(2, pid, Some(pid)));
    }

    #[test]
    fn pidfd_id_of_another_process_is_not_that_of_this_process() {
        assert!(!is_own_pidfd(OsStr::new("1")));
        assert!(!is_own_pidfd(OsStr::new("x")));
    }
}
