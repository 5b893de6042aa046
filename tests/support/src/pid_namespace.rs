//! A pid namespace of its own, as a container has it: the supervisor is process 1 there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{Process, Supervisor, SupervisorBuilder, skipped, wait_for};

/// The pid namespace of a supervisor that is process 1, see [`SupervisorBuilder::process_1`].
pub struct PidNamespace {
    proc: PathBuf,
}

/// A process, by its numbers in its pid namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct NamespaceProcess {
    /// The process id.
    pub pid: i32,
    /// The process id of the parent.
    pub parent: i32,
    /// `R`, `S`, `Z`…
    pub state: char,
}

impl PidNamespace {
    /// Whether the test can create one. If not, the test is reported as skipped, with the reason.
    pub fn is_available() -> bool {
        static REASON: OnceLock<Option<String>> = OnceLock::new();
        let reason = REASON.get_or_init(|| {
            let command = unshare();
            let mut tried = Command::new(command[0]);
            match tried.args(&command[1..]).arg("true").output() {
                Ok(tried) if tried.status.success() => None,
                Ok(tried) => Some(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
                Err(e) => Some(e.to_string()),
            }
        });
        if let Some(reason) = reason {
            skipped(&format!(
                "a supervisor as process 1 needs unshare(1), and root or user namespaces ({reason})"
            ));
        }
        reason.is_none()
    }

    /// All processes of the namespace, zombies and process 1 included.
    pub fn processes(&self) -> Vec<NamespaceProcess> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let mut fields = stat.rsplit_once(") ")?.1.split(' ');
                Some(NamespaceProcess {
                    pid,
                    state: fields.next()?.chars().next()?,
                    parent: fields.next()?.parse().ok()?,
                })
            })
            .collect()
    }

    /// The children of process 1, workers and orphans, zombies included; sorted.
    pub fn children(&self) -> Vec<i32> {
        let processes = self.processes().into_iter();
        let children = processes.filter(|process| process.parent == 1);
        let mut children: Vec<i32> = children.map(|process| process.pid).collect();
        children.sort_unstable();
        children
    }
}

impl SupervisorBuilder {
    /// The supervisor is process 1 of a pid namespace of its own. Commands of [`SupervisorBuilder::before`] run outside
    /// the namespace.
    pub fn process_1(mut self) -> Self {
        self.is_process_1 = true;
        let unshare = unshare().join(" ");
        self.before(&format!("set -- {unshare} \"$@\""))
    }
}

impl Supervisor {
    /// The pid namespace in which this supervisor is process 1.
    pub fn namespace(&self) -> PidNamespace {
        PidNamespace {
            proc: format!("/proc/{}/root/proc", self.process()).into(),
        }
    }
}

/// The command that creates the namespace: its process 1 has a /proc of its own, and all of its processes end with the
/// test. Without root, a user namespace is needed as well.
fn unshare() -> Vec<&'static str> {
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

/// Waits for the child of this `unshare` that is process 1. The shell that became `unshare` may have had other children.
pub(crate) fn process_1_of(unshare: Process) -> Option<Process> {
    let is_process_1 = |child: &Process| {
        let pids = child.status("NSpid").unwrap_or_default();
        pids.split_whitespace().nth(1) == Some("1")
    };
    wait_for(|| match unshare.children().into_iter().find(is_process_1) {
        None if unshare.is_alive() => None,
        found => Some(found),
    })
    .flatten()
}
