//! The supervisor, and what can be seen of it and done to it from outside.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use server_starter_testing::{
    Process, Supervisor, SupervisorBuilder, TestDir, control, last_lines, program, worker_command,
};

use crate::{Plan, wait_for};

pub(crate) struct Server {
    /// Unmounted before the directory is removed, hence the first field.
    _disk: Option<SmallDisk>,
    supervisor: Supervisor,
    /// The TCP port that it serves, beside the unix socket.
    pub(crate) port: u16,
}

const OPTIONS: [&str; 13] = [
    "--port=127.0.0.1:0",
    "--path=DIR/sock",
    "--control=DIR/control",
    "--pid-file=DIR/pid",
    "--status-file=DIR/small/status",
    "--log-file=DIR/small/log",
    "--envdir=DIR/env",
    "--check-cmd=test ! -e no",
    "--ready=notify",
    "--interval=0.05",
    "--start-timeout=1",
    "--stop-timeout=4",
    "--worker-watchdog=5",
];

impl Server {
    pub(crate) fn start(plan: &Plan) -> Result<Server, String> {
        let mut builder = SupervisorBuilder::bare(program!(), &OPTIONS)
            .clear_env()
            .copied()
            .before("ulimit -c 0") // some workers crash
            .program(worker_command());
        for name in ["tmp", "env", "small"] {
            fs::create_dir(builder.path(name)).unwrap();
        }
        let disk = plan.disk.then(|| SmallDisk::mount(builder.path("small")));
        let temporary = builder.path("tmp");
        builder = builder.env("TMPDIR", temporary);
        if plan.reloads.is_none() {
            builder = builder.env("SOAK_SEED", plan.seed.to_string());
        }
        let mut server = Server {
            _disk: disk,
            supervisor: builder.spawn(),
            port: 0,
        };
        let port = wait_for(|| match server.find_port() {
            None if server.exited().is_none() => None,
            found => Some(found),
        });
        server.port = port.flatten().ok_or_else(|| server.last_lines(20))?;
        Ok(server)
    }

    fn find_port(&self) -> Option<u16> {
        let status = self.status().ok()?;
        status.get("generation")?.as_u64()?;
        let sockets = status.get("sockets")?.as_array()?.iter();
        let mut keys = sockets.filter_map(|socket| socket.get("key")?.as_str());
        keys.find_map(|key| key.strip_prefix("127.0.0.1:")?.parse().ok())
    }

    pub(crate) fn dir(&self) -> &TestDir {
        self.supervisor.dir()
    }

    pub(crate) fn process(&self) -> Process {
        self.supervisor.process()
    }

    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        self.supervisor.exited()
    }

    /// Sends a signal, whatever the supervisor is doing.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    pub(crate) fn replace_program(&self, create_next: &str) {
        self.supervisor.replace_program(create_next);
    }

    /// A command of the program under test: `--restart` and the like.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let control = format!("--control={}", self.dir().path("control").display());
        let mut command = Command::new(self.supervisor.program().path());
        command.arg(control).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command until it ends; it must exit with this status.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Result<String, String> {
        let output = self.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match output.status.code() == Some(code) {
            true => Ok(said),
            false => Err(format!("{arguments:?}: {}, said {said:?}", output.status)),
        }
    }

    /// The answer to `Status` on the control socket.
    pub(crate) fn status(&self) -> io::Result<Value> {
        control::status(self.dir().path("control"))
    }

    /// The last lines of all its output.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let files = ["stdout", "stderr", "small/log.1", "small/log"];
        let output = files.map(|name| self.dir().read(name)).concat();
        last_lines(&output, count, "\n    ")
    }
}

/// A small file system, to be filled.
struct SmallDisk(PathBuf);

/// The size of the small file system, in megabytes.
const DISK: u64 = 8;

impl SmallDisk {
    fn mount(path: PathBuf) -> SmallDisk {
        let size = format!("size={DISK}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "soak"]).arg(&path);
        assert!(mount.status().unwrap().success(), "{mount:?}");
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
