//! The service of a test.

use std::thread;

use server_starter_testing::{Output, expect};

use super::Machine;

/// A service unit, with or without a `.socket` unit; stopped when dropped.
pub(crate) struct Service {
    pub(crate) machine: &'static Machine,
    /// The name without `.service`.
    pub(crate) name: String,
    kind: &'static str,
    options: String,
    lines: Vec<String>,
}

impl Service {
    /// `start_server` with these options and the worker `hello`.
    pub(crate) fn new(
        machine: &'static Machine,
        name: &str,
        options: impl Into<String>,
    ) -> Service {
        let service = Service {
            machine,
            name: name.to_owned(),
            kind: "notify",
            options: options.into(),
            lines: Vec::new(),
        };
        service.set_worker("exec /usr/local/bin/hello");
        service
    }

    /// A service whose unit is already installed.
    pub(crate) fn installed(machine: &'static Machine, name: &str) -> Service {
        Service {
            machine,
            name: name.to_owned(),
            kind: "",
            options: String::new(),
            lines: Vec::new(),
        }
    }

    /// Its `Type=`.
    pub(crate) fn kind(mut self, kind: &'static str) -> Service {
        self.kind = kind;
        self
    }

    /// A further line of `[Service]`.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Service {
        self.lines.push(line.into());
        self
    }

    /// systemd stores this many descriptors.
    pub(crate) fn store(self, room: u32) -> Service {
        self.line(format!("FileDescriptorStoreMax={room}"))
            .line(format!("Environment=FDSTORE={room}")) // systemd sets it since 254
    }

    /// Changes the options of `start_server`.
    pub(crate) fn options(&mut self, options: impl Into<String>) {
        self.options = options.into();
        self.write();
    }

    /// The next worker is this shell script.
    pub(crate) fn set_worker(&self, script: &str) {
        let text = format!("#!/bin/sh\n{script}\n");
        self.machine.write(&self.worker(), text, 0o755);
    }

    fn worker(&self) -> String {
        format!("/opt/{}", self.name)
    }

    /// Writes the unit and has systemd read it.
    pub(crate) fn write(&self) {
        let (name, kind, options, worker) = (&self.name, self.kind, &self.options, self.worker());
        let files = format!("--pid-file=/run/{name}/pid --status-file=/run/{name}/status");
        let control = format!("--control=/run/{name}/control");
        let lines = self.lines.join("\n");
        // For a setting with one value, the last line counts.
        let unit = format!(
            "[Unit]\nStartLimitIntervalSec=0\n\
             [Service]\nType={kind}\nNotifyAccess=main\nKillMode=mixed\nRuntimeDirectory={name}\n\
             ExecStart=/usr/bin/start_server --interval=0.3 {control} {files} {options} -- {worker}\n\
             ExecReload=/usr/bin/start_server --restart --until=ready --timeout=40 {control}\n\
             {lines}\n"
        );
        self.machine
            .write(&format!("/etc/systemd/system/{name}.service"), unit, 0o644);
        self.machine.reload_manager();
    }

    /// Writes the unit and its `.socket` unit, and starts the latter.
    pub(crate) fn listen(self, socket_lines: &str) -> Service {
        let name = &self.name;
        let unit = format!("[Socket]\n{socket_lines}\n");
        self.machine
            .write(&format!("/etc/systemd/system/{name}.socket"), unit, 0o644);
        self.write();
        self.machine
            .run(&format!("systemctl start {name}.socket"))
            .ok();
        self
    }

    /// Writes the unit and starts it.
    pub(crate) fn start(self) -> Service {
        self.write();
        self.systemctl("start").ok();
        self
    }

    pub(crate) fn systemctl(&self, verb: &str) -> Output {
        self.machine
            .run(&format!("systemctl {verb} {}.service", self.name))
    }

    pub(crate) fn property(&self, name: &str) -> String {
        self.machine
            .property(&format!("{}.service", self.name), name)
    }

    pub(crate) fn main_pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    pub(crate) fn journal(&self) -> String {
        self.machine.journal(&self.name)
    }

    /// Generations and pids in the status file, the newest last.
    pub(crate) fn workers(&self) -> Vec<(u32, u32)> {
        let file = match self.kind {
            "" => format!("/run/{}/status", self.name.replacen('@', "/", 1)),
            _ => format!("/run/{}/status", self.name),
        };
        let text = self.machine.read(&file);
        let line = |line: &str| {
            let (generation, pid) = line.split_once(':')?;
            Some((generation.parse().ok()?, pid.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }

    /// The newest generation that is ready; 0 if there is none.
    pub(crate) fn generation(&self) -> u32 {
        self.workers()
            .last()
            .map_or(0, |(generation, _)| *generation)
    }

    /// The pid of the newest worker that is ready.
    pub(crate) fn worker_pid(&self) -> u32 {
        expect("a worker is ready", || Some(self.workers().last()?.1))
    }

    /// Waits until systemd knows that the service is ready.
    pub(crate) fn wait_active(&self) {
        expect("the service is active", || {
            (self.property("ActiveState") == "active").then_some(())
        });
    }

    /// Waits until another process than `old` is the ready supervisor; returns its pid.
    pub(crate) fn wait_restarted(&self, old: u32) -> u32 {
        expect("another supervisor serves", || {
            let pid = self.main_pid();
            (pid != 0 && pid != old && self.property("ActiveState") == "active").then_some(pid)
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let name = &self.name;
        if thread::panicking() {
            let status = self
                .machine
                .run(&format!("systemctl status --no-pager {name}.service"));
            let journal = self
                .machine
                .run(&format!("journalctl --no-pager -u {name}"));
            eprintln!("{}\n{}", status.stdout, journal.stdout);
        }
        let socket = self
            .machine
            .path(&format!("/etc/systemd/system/{name}.socket"));
        if self.kind.is_empty() || socket.exists() {
            self.machine.run(&format!("systemctl stop {name}.socket"));
        }
        self.systemctl("stop");
        self.systemctl("reset-failed");
    }
}
