//! A booted systemd, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use server_starter_testing::{BOUND, Output, program};

/// One machine of the machine, shared by all tests of this process.
pub(crate) struct Machine {
    pub(crate) version: u32,
    pid1: u32,
    next_port: AtomicU16,
    /// Held to have systemd read its files anew.
    manager: RwLock<()>,
}

impl Machine {
    /// The machine called so; an error says why there is none.
    pub(crate) fn of(version: &'static str) -> Result<&'static Machine, String> {
        static BOOTED: Mutex<BTreeMap<&str, &'static Machine>> = Mutex::new(BTreeMap::new());
        let machines = std::env::var_os("START_SERVER_MACHINES")
            .ok_or("no systemd was booted for it (run tests/systemd/run, as root)")?;
        let mut booted = BOOTED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(machine) = booted.get(version) {
            return Ok(machine);
        }
        let machine = Machine::at(&Path::new(&machines).join(version))
            .map_err(|e| format!("it is not among those that were booted ({e})"))?;
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
        let said = machine.run("systemctl --version").ok();
        let version = said.split_whitespace().nth(1);
        machine.version = version.and_then(|v| v.parse().ok()).unwrap();
        Ok(machine)
    }

    /// Puts in place what a package would.
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

    /// The worker.
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

    /// A path of the machine, as it is called from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.pid1);
        Path::new(&root).join(inside.trim_start_matches('/'))
    }

    /// Its network.
    pub(super) fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid1).into()
    }

    /// Makes or replaces a file, in one step: a program that is running keeps the old one.
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(inside);
        let mut new = path.clone().into_os_string();
        new.push(".new");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// What a file has; empty if it is not there.
    pub(crate) fn read(&self, inside: &str) -> String {
        let bytes = fs::read(self.path(inside)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a command inside, its words separated by blanks, and waits for its end.
    pub(crate) fn run(&self, command: &str) -> Output {
        let mut inside = Command::new("timeout");
        inside
            .args([&BOUND.as_secs().to_string(), "nsenter", "-a", "-t"])
            .args([&self.pid1.to_string(), "--", "env", "-i", "LANG=C.UTF-8"])
            .args(["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(command.split_whitespace());
        Output::of(&mut inside)
    }

    pub(crate) fn reload_manager(&self) {
        self.change("systemctl daemon-reload");
    }

    /// Runs a command after which systemd reads its files anew, one at a time.
    pub(crate) fn change(&self, command: &str) {
        let _one = self.manager.write().unwrap_or_else(|e| e.into_inner());
        self.run(command).ok();
    }

    /// Keeps other tests from that.
    pub(crate) fn unchanged(&self) -> RwLockReadGuard<'_, ()> {
        self.manager.read().unwrap_or_else(|e| e.into_inner())
    }

    /// A port that no other test uses. Nothing else is there to use it.
    pub(crate) fn port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }

    /// A property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let said = self.run(&format!("systemctl show -P {name} {unit}")).ok();
        said.trim_end().to_owned()
    }

    pub(crate) fn journal(&self, unit: &str) -> String {
        self.run(&format!("journalctl --no-pager -o cat -u {unit}"))
            .stdout
    }

    /// A variable of a process inside; none: it does not have it.
    pub(crate) fn variable(&self, pid: u32, name: &str) -> Option<String> {
        let environment = self.read(&format!("/proc/{pid}/environ"));
        assert!(
            !environment.is_empty(),
            "process {pid} has no environment to read"
        );
        let mut variables = environment
            .split('\0')
            .filter_map(|variable| variable.split_once('='));
        let (_, value) = variables.find(|(n, _)| *n == name)?;
        Some(value.to_owned())
    }
}
