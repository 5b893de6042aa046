//! A directory for one server, with the files it wants; what was started in it goes with it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Recipe, eventually, file};

/// The directory of a test, and its port.
pub(crate) struct Place {
    directory: TempDir,
    pub(crate) port: u16,
}

impl Place {
    /// With the applications of `apps/` and the recipe's files, made ready by its commands.
    #[track_caller]
    pub(crate) fn of(recipe: &Recipe) -> Self {
        // canonical, to be compared with what /proc says
        let temporary = fs::canonicalize(std::env::temp_dir()).unwrap();
        let directory = tempfile::Builder::new()
            .prefix("servers")
            .tempdir_in(temporary)
            .unwrap();
        let probe = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = probe.local_addr().unwrap().port();
        let place = Self { directory, port };
        for app in fs::read_dir(file("tests/servers/apps")).unwrap().flatten() {
            fs::copy(app.path(), place.path(app.file_name().to_str().unwrap())).unwrap();
        }
        if let Ok(axum) = fs::read(examples().join("axum")) {
            let path = place.path("target/debug/examples/axum");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, axum).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let big = format!("hello\n{}", "0123456789abcde\n".repeat(1 << 20));
        place.write("public/index.html", "hello\n");
        place.write("public/big", &big);
        for (name, content) in &recipe.files {
            place.write(name, &place.filled_in(content));
        }
        // Ours are built beforehand, in their own place.
        let ours = |command: &&String| command.starts_with("cargo ");
        for command in recipe.before.iter().filter(|command| !ours(command)) {
            place.run("before", command, None).expect_success();
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts another version of a file in its place, in one go, as a deployment should; whoever runs the old one keeps it.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) {
        let (path, new) = (self.path(name), self.path("new"));
        let permissions = fs::metadata(&path).unwrap().permissions();
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, permissions).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// A file of the directory; empty when there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text with the port of this test for 8080.
    pub(crate) fn filled_in(&self, text: &str) -> String {
        text.replace("8080", &self.port.to_string())
    }

    /// Starts a shell command in the directory; `name.log` is its output, `stdin` its standard input.
    pub(crate) fn run(&self, name: &str, command: &str, stdin: Option<OwnedFd>) -> Running {
        let log = self.path(&format!("{name}.log"));
        let mut output = File::options();
        let output = output.create(true).append(true).open(&log).unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["SERVER_STARTER_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"];
            if ours.iter().any(|start| text.starts_with(start)) {
                shell.env_remove(&name);
            }
        }
        let servers = servers();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}/venv/bin:{path}:/usr/sbin", servers.display());
        shell
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .env("GOCACHE", servers.join("gocache"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(self.directory.path())
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Running {
            child: shell.spawn().unwrap(),
            command: command.to_owned(),
            log,
        }
    }

    /// Everything that was started here and lives: it is where it was started.
    pub(crate) fn survivors(&self) -> Vec<i32> {
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_here = |pid: &i32| {
            let place = fs::read_link(format!("/proc/{pid}/cwd"));
            place.is_ok_and(|place| place.starts_with(self.directory.path()))
        };
        numbers.filter(is_here).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.directory.path()).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".log") || name == "status" {
                    eprintln!("--- {name}:\n{}", self.read(&name));
                }
            }
        }
        eventually("everything is gone", || {
            let survivors = self.survivors();
            for &pid in &survivors {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            survivors.is_empty().then_some(())
        });
    }
}

/// A command that was started; killed when dropped.
pub(crate) struct Running {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.command);
        eventually(&what, || self.exited())
    }

    #[track_caller]
    pub(crate) fn expect_success(mut self) {
        let status = self.wait();
        let log = self.log();
        assert!(status.success(), "{}: {status}\n{log}", self.command);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where tests/servers/install puts what is not Debian's: `servers` in the target directory.
fn servers() -> PathBuf {
    above_me(3).join("servers")
}

/// Where cargo puts examples.
fn examples() -> PathBuf {
    above_me(2).join("examples")
}

/// `levels` above TARGET/debug/deps/servers-…
fn above_me(levels: usize) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let above: Option<&Path> = me.ancestors().nth(levels);
    above.unwrap().to_owned()
}
