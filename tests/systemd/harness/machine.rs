//! A machine: a booted systemd, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use server_starter_testing::{BOUND, Output, program};

/// A machine, shared by the tests of one version.
pub(crate) struct Machine {
    pub(crate) version: u32,
    pid1: u32,
    next_port: AtomicU16,
    /// Written by `daemon-reload`, read by tests that a `daemon-reload` would disturb.
    manager: RwLock<()>,
}

impl Machine {
    /// The shared machine of this version, or the reason why there is none.
    pub(crate) fn of(version: &'static str) -> Result<&'static Machine, String> {
        static BOOTED: Mutex<BTreeMap<&str, &'static Machine>> = Mutex::new(BTreeMap::new());
        let machines = std::env::var_os("START_SERVER_MACHINES")
            .ok_or("no systemd was booted (run tests/systemd/run, as root)")?;
        let mut booted = BOOTED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(machine) = booted.get(version) {
            return Ok(machine);
        }
        let machine = Machine::at(&Path::new(&machines).join(version))
            .map_err(|e| format!("it was not booted ({e})"))?;
        machine.install();
        let machine: &'static Machine = Box::leak(Box::new(machine));
        booted.insert(version, machine);
        Ok(machine)
    }

    /// The machine that was booted with this directory.
    pub(super) fn at(dir: &Path) -> io::Result<Machine> {
        let pid1 = fs::read_to_string(dir.join("pid1"))?;
        let mut machine = Machine {
            version: 0,
            pid1: pid1.trim().parse().unwrap(),
            next_port: AtomicU16::new(20000),
            manager: RwLock::new(()),
        };
        let version = machine.run("systemctl --version").ok();
        let version = version.split_whitespace().nth(1);
        machine.version = version.and_then(|v| v.parse().ok()).unwrap();
        Ok(machine)
    }

    /// Installs the program and its units as a package does.
    pub(crate) fn install(&self) {
        self.copy(program!().path(), "/usr/bin/start_server");
        self.install_hello();
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        for name in ["server-starter@.service", "server-starter@.socket"] {
            self.copy(&units.join(name), &format!("/etc/systemd/system/{name}"));
        }
        for name in ["web.service", "web.socket"] {
            let from = units.join("example").join(name);
            self.copy(&from, &format!("/etc/systemd/system/{name}"));
        }
        self.reload_manager();
    }

    /// Installs the worker `hello`.
    pub(crate) fn install_hello(&self) {
        self.copy(&program!().example("hello"), "/usr/local/bin/hello");
    }

    pub(crate) fn copy(&self, from: &Path, to: &str) {
        let mode = fs::metadata(from)
            .unwrap_or_else(|e| panic!("{}: {e}", from.display()))
            .permissions()
            .mode();
        self.write(to, fs::read(from).unwrap(), mode & 0o755);
    }

    /// A path in the machine, seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.pid1);
        Path::new(&root).join(inside.trim_start_matches('/'))
    }

    /// Its network namespace.
    pub(super) fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid1).into()
    }

    /// Creates or replaces a file by rename: a running program keeps the old file.
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(inside);
        let mut new = path.clone().into_os_string();
        new.push(".new");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// The content of a file; empty if there is no such file.
    pub(crate) fn read(&self, inside: &str) -> String {
        let bytes = fs::read(self.path(inside)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a command in the machine until it ends. Its words are separated by spaces.
    pub(crate) fn run(&self, command: &str) -> Output {
        let mut inside = Command::new("timeout");
        inside
            .args([&BOUND.as_secs().to_string(), "nsenter", "-a", "-t"])
            .args([&self.pid1.to_string(), "--", "env", "-i", "LANG=C.UTF-8"])
            .args(["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(command.split_whitespace());
        Output::of(&mut inside)
    }

    /// Has systemd read its files again.
    pub(crate) fn reload_manager(&self) {
        self.change("systemctl daemon-reload");
    }

    /// Runs a command that makes systemd read its files again, one at a time.
    pub(crate) fn change(&self, command: &str) {
        let _one = self.manager.write().unwrap_or_else(|e| e.into_inner());
        self.run(command).ok();
    }

    /// While the guard lives, systemd does not read its files again.
    pub(crate) fn unchanged(&self) -> RwLockReadGuard<'_, ()> {
        self.manager.read().unwrap_or_else(|e| e.into_inner())
    }

    /// A port that no other test uses.
    pub(crate) fn port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }

    /// A property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let said = self.run(&format!("systemctl show -P {name} {unit}")).ok();
        said.trim_end().to_owned()
    }

    /// The journal of a unit.
    pub(crate) fn journal(&self, unit: &str) -> String {
        self.run(&format!("journalctl --no-pager -o cat -u {unit}"))
            .stdout
    }

    /// An environment variable of a process in the machine; `None` if it is not set.
    pub(crate) fn variable(&self, pid: u32, name: &str) -> Option<String> {
        let environment = self.read(&format!("/proc/{pid}/environ"));
        assert!(
            !environment.is_empty(),
            "the environment of process {pid} cannot be read"
        );
        let mut variables = environment
            .split('\0')
            .filter_map(|variable| variable.split_once('='));
        let (_, value) = variables.find(|(n, _)| *n == name)?;
        Some(value.to_owned())
    }
}
