//! Starts a worker in a process of its own: an ignored test of this program, or an example.

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

/// A wait that takes longer fails the test.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Marks the lines of a worker; libtest writes others to the same output.
const REPORT_PREFIX: &str = "worker: ";

/// Closes all other descriptors, moves the given ones to their numbers and executes the worker. The
/// test process cannot do so itself: it shares its descriptors with the tests that run beside it.
const PLACE_FDS_AND_EXEC: &str = r#"
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        case " 0 1 2 $SOURCES " in *" $fd "*) ;; *) eval "exec $fd<&-" ;; esac
    done
    eval "$MOVES"
    unset SOURCES MOVES
    [ "$LISTEN_PID" != self ] || LISTEN_PID=$$
    exec "$@"
"#;

/// Builds the command of a worker.
pub(crate) struct Worker {
    command: Command,
    /// Inheritable copies, on numbers from 100 up, each with the number that the worker gets it on.
    copies: Vec<(RawFd, RawFd)>,
}

/// A running worker, killed on drop.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Runs the ignored test of this name.
    pub(crate) fn test(name: &str) -> Self {
        let program = env::current_exe().unwrap();
        Self::of(program, &["--exact", name, "--ignored", "--nocapture"])
    }

    /// Runs the example of this name, which `cargo test` builds beside the test programs.
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
        command.args(["-c", PLACE_FDS_AND_EXEC, "bash"]);
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

    /// Starts the worker through `env` with this option, for instance `--block-signal=TERM`.
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

    /// Passes this descriptor on this number.
    pub(crate) fn at(mut self, number: RawFd, fd: impl AsFd) -> Self {
        let copy = fcntl(fd, FcntlArg::F_DUPFD(100)).unwrap();
        self.copies.push((copy, number));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets `LISTEN_FDS` to this count, for the worker's own pid.
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

    /// Runs the worker to its end. Returns the lines that it reported; fails unless it exits with 0.
    #[track_caller]
    pub(crate) fn reports(self) -> Vec<String> {
        let mut running = self.start();
        let mut reported = Vec::new();
        while let Some(line) = running.next_line() {
            reported.push(line);
        }
        assert_eq!(running.exit_code(), Some(0), "{reported:?}");
        reported
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
    /// The next line that the worker reports. `None` if it has ended.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        loop {
            if self.output.buffer().is_empty() {
                self.wait_for_output();
            }
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, reported)) = line.split_once(REPORT_PREFIX) {
                return Some(reported.trim_end().into());
            }
        }
    }

    fn wait_for_output(&self) {
        let mut fds = [PollFd::new(
            self.output.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        let timeout = PollTimeout::try_from(BOUND).unwrap();
        assert_eq!(
            poll(&mut fds, timeout),
            Ok(1),
            "the worker runs and reports nothing"
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Whether the process has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the exit code. `None` if a signal ended the process.
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

/// Reports a line to the test; called in the worker.
pub(crate) fn report(line: impl std::fmt::Display) {
    println!("\n{REPORT_PREFIX}{line}");
}

/// Binds a socket that receives notifications. Returns it with its path.
pub(crate) fn notify_socket(dir: &Path) -> (UnixDatagram, PathBuf) {
    let path = dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    (socket, path)
}

/// Receives the next notification.
#[track_caller]
pub(crate) fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a notification");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
