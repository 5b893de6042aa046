//! Starts a worker: an ignored test of this program, or an example, in a process of its own.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, close};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker says begins with this, unlike what libtest says.
const MARK: &str = "worker: ";

/// Puts the descriptors in their places and becomes the worker. A test cannot do so itself, for it
/// shares its numbers with the tests beside it. Whatever else is open is closed first.
const PUT_IN_PLACE: &str = r#"
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        case " 0 1 2 $SOURCES " in *" $fd "*) ;; *) eval "exec $fd<&-" ;; esac
    done
    eval "$MOVES"
    unset SOURCES MOVES
    [ "$LISTEN_PID" != self ] || LISTEN_PID=$$
    exec "$@"
"#;

/// A worker to be started.
pub(crate) struct Worker {
    command: Command,
    /// Copies that come through `execve`, far above any number that matters; and where they go.
    copies: Vec<(RawFd, RawFd)>,
}

/// A worker that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// The ignored test of this name.
    pub(crate) fn test(name: &str) -> Self {
        let program = env::current_exe().unwrap();
        Self::of(program, &["--exact", name, "--ignored", "--nocapture"])
    }

    /// The example of this name, which `cargo test` builds beside us.
    pub(crate) fn example(name: &str) -> Self {
        let test = env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
        let path = program.display();
        assert!(
            program.exists(),
            "{path} is not built: cargo build --examples"
        );
        Self::of(program, &[])
    }

    fn of(program: PathBuf, arguments: &[&str]) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", PUT_IN_PLACE, "bash"]);
        command.arg(program).args(arguments);
        command.stdout(Stdio::piped());
        for name in [
            "SERVER_STARTER_PORT",
            "SERVER_STARTER_GENERATION",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_PIDFDID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
        ] {
            command.env_remove(name);
        }
        let copies = Vec::new();
        Self { command, copies }
    }

    /// Through `env` with this option: `--block-signal=TERM`.
    pub(crate) fn through_env(mut self, option: &str) -> Self {
        let mut command = Command::new("env");
        command
            .arg(option)
            .arg("bash")
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdout(Stdio::piped());
        self.command = command;
        self
    }

    /// With this descriptor at this number.
    pub(crate) fn at(mut self, number: RawFd, fd: impl AsFd) -> Self {
        let copy = fcntl(fd, FcntlArg::F_DUPFD(100)).unwrap();
        self.copies.push((copy, number));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Says by `LISTEN_FDS` that so many descriptors are for the worker.
    pub(crate) fn listen_fds(self, count: &str) -> Self {
        self.env("LISTEN_PID", "self").env("LISTEN_FDS", count)
    }

    pub(crate) fn start(mut self) -> Running {
        let sources: Vec<_> = self
            .copies
            .iter()
            .map(|(copy, _)| copy.to_string())
            .collect();
        let moves = self.copies.iter();
        let moves: Vec<_> = moves
            .map(|(copy, number)| format!("exec {number}<&{copy} {copy}<&-"))
            .collect();
        self.command
            .env("SOURCES", sources.join(" "))
            .env("MOVES", moves.join(";"));
        let mut child = self.command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Running { child, output }
    }

    /// Runs to the end, which has to be a good one; returns what the worker said.
    #[track_caller]
    pub(crate) fn says(self) -> Vec<String> {
        let mut running = self.start();
        let mut said = Vec::new();
        while let Some(line) = running.next_line() {
            said.push(line);
        }
        assert_eq!(running.exit_code(), Some(0), "{said:?}");
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for (copy, _) in &self.copies {
            close(*copy).unwrap();
        }
    }
}

impl Running {
    /// The next line that the worker says; none when it has ended.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        loop {
            if self.output.buffer().is_empty() {
                self.wait_for_output();
            }
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().into());
            }
        }
    }

    fn wait_for_output(&self) {
        let mut fds = [PollFd::new(
            self.output.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        let timeout = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(
            poll(&mut fds, timeout),
            Ok(1),
            "the worker says nothing and lives on"
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end. None if it was killed.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        while self.next_line().is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line, as a worker.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("\n{MARK}{line}");
}

/// A socket for notifications, and its path.
pub(crate) fn notify_socket(dir: &Path) -> (UnixDatagram, PathBuf) {
    let path = dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path)
}

/// The next notification.
#[track_caller]
pub(crate) fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a notification");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
