//! A pid namespace of its own, as a container has it: the supervisor is process 1 there.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use super::{Process, Setup, Supervisor, look_for, skipped};

/// What makes the namespace: its process 1 sees a /proc of its own, and all of it ends with the test. Who is not root has to be
/// root of a user namespace for that.
pub(crate) fn unshare() -> Vec<&'static str> {
    let mut command = vec![
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount",
        "--mount-proc",
    ];
    if !nix::unistd::geteuid().is_root() {
        command.extend(["--user", "--map-root-user"]);
    }
    command
}

/// Whether this works here. If not, that and why has been said.
pub(crate) fn have_pid_namespaces() -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let why_not = WHY_NOT.get_or_init(|| {
        let command = unshare();
        let tried = Command::new(command[0])
            .args(&command[1..])
            .arg("true")
            .output();
        match tried {
            Ok(tried) if tried.status.success() => None,
            Ok(tried) => Some(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
            Err(e) => Some(e.to_string()),
        }
    });
    if let Some(why) = why_not {
        skipped(&format!(
            "to be process 1 needs unshare(1) and root, or user namespaces ({why})"
        ));
    }
    why_not.is_none()
}

/// A process as those of its namespace see it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inmate {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
}

impl Setup {
    /// The supervisor is process 1 of a namespace of its own. What is to happen before happens outside.
    pub(crate) fn process_1(mut self) -> Self {
        self.is_process_1 = true;
        let unshare = unshare().join(" ");
        self.before(&format!("set -- {unshare} \"$@\""))
    }
}

impl Supervisor {
    /// The namespace's /proc, zombies and process 1 among it.
    pub(crate) fn inmates(&self) -> Vec<Inmate> {
        let proc = format!("/proc/{}/root/proc", self.process());
        let entries = fs::read_dir(proc).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let mut fields = stat.rsplit_once(") ")?.1.split(' ');
                Some(Inmate {
                    pid,
                    state: fields.next()?.chars().next()?,
                    parent: fields.next()?.parse().ok()?,
                })
            })
            .collect()
    }

    /// The children of process 1, workers and orphans, by their numbers there, zombies among them.
    pub(crate) fn wards(&self) -> Vec<i32> {
        let inmates = self.inmates().into_iter();
        let wards = inmates.filter(|inmate| inmate.parent == 1);
        let mut wards: Vec<i32> = wards.map(|inmate| inmate.pid).collect();
        wards.sort_unstable();
        wards
    }
}

/// The child of `unshare`, this one, that is process 1. The shell that became `unshare` may have had others before.
pub(super) fn process_1_of(unshare: Process) -> Option<Process> {
    look_for(|| {
        let is_process_1 = |child: &Process| {
            let numbers = child.status("NSpid").unwrap_or_default();
            numbers.split_whitespace().nth(1) == Some("1")
        };
        match unshare.children().into_iter().find(is_process_1) {
            None if unshare.is_alive() => None,
            found => Some(found),
        }
    })
    .flatten()
}
