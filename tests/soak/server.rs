//! The supervisor, and what can be seen of it and said to it from outside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::place::Place;
use crate::process::Process;
use crate::{BOUND, Plan, look_for};

pub(crate) struct Server {
    pub(crate) place: Place,
    child: Mutex<Child>,
    pid: i32,
    /// What it serves on, beside the unix socket.
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(plan: &Plan) -> Result<Server, String> {
        let place = Place::new(plan.disk);
        let me = std::env::current_exe().unwrap();
        let options = [
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
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]); // some workers crash
        command.arg(place.path("start_server"));
        command.args(options.map(|option| option.replace("DIR", place.text())));
        command.arg("--").arg(me).arg("worker");
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs([("LC_ALL", "C"), ("PLACE", place.text())]);
        command.env("TMPDIR", place.path("tmp"));
        if plan.reloads.is_none() {
            command.env("SOAK_SEED", plan.seed.to_string());
        }
        command.current_dir(place.text()).stdin(Stdio::null());
        let output = || File::create(place.path("output")).unwrap();
        command.stdout(output()).stderr(output());
        let child = command.spawn().unwrap();
        let mut server = Server {
            place,
            pid: child.id() as i32,
            child: Mutex::new(child),
            port: 0,
        };
        let port = look_for(|| match server.find_port() {
            None if server.exited().is_none() => None,
            found => Some(found),
        });
        server.port = port.flatten().ok_or_else(|| server.last_words(20))?;
        Ok(server)
    }

    fn find_port(&self) -> Option<u16> {
        let status = self.status().ok()?;
        status.get("generation")?.as_u64()?;
        let sockets = status.get("sockets")?.as_array()?.iter();
        let mut keys = sockets.filter_map(|socket| socket.get("key")?.as_str());
        keys.find_map(|key| key.strip_prefix("127.0.0.1:")?.parse().ok())
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.pid)
    }

    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Its children, zombies among them, as the kernel lists them.
    pub(crate) fn children(&self) -> Vec<Process> {
        let pid = self.process();
        let children = pid.read(&format!("task/{pid}/children"));
        let numbers = children.split_whitespace().flat_map(str::parse);
        numbers.map(Process).collect()
    }

    /// One of its own commands, `--restart` and the like.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::place::binary());
        command.arg(format!(
            "--control={}",
            self.place.path("control").display()
        ));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs one to its end; it must end so.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Result<String, String> {
        let output = self.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match output.status.code() == Some(code) {
            true => Ok(said),
            false => Err(format!("{arguments:?}: {}, said {said:?}", output.status)),
        }
    }

    /// What the control socket says.
    pub(crate) fn status(&self) -> io::Result<Value> {
        let mut stream = UnixStream::connect(self.place.path("control"))?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        stream.write_all(b"{\"method\":\"org.serverstarter.Supervisor.Status\"}\0")?;
        let mut reply = Vec::new();
        while reply.last() != Some(&0) {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => reply.extend(buffer.iter().take(read)),
            }
        }
        reply.pop();
        let reply: Value = serde_json::from_slice(&reply)?;
        match reply.get("parameters") {
            Some(status) if reply.get("error").is_none() => Ok(status.clone()),
            _ => Err(io::Error::other(format!("the answer is {reply}"))),
        }
    }

    /// The end of what it has said.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let said = ["output", "small/log.1", "small/log"].map(|name| self.place.read(name));
        let said = said.concat();
        let last: Vec<&str> = said.lines().rev().take(lines).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.lock().unwrap().wait();
        }
    }
}
