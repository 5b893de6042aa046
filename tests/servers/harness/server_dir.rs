//! The directory of one server, with the files that it needs.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use server_starter_testing::{Running, TestDir, append_to, clear_settings, free_port};

use super::{Recipe, file};

/// The directory of a server, and its port.
pub(crate) struct ServerDir {
    dir: TestDir,
    pub(crate) port: u16,
}

impl ServerDir {
    /// With the applications of `apps/`, the recipe's files, and what its commands build.
    #[track_caller]
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let dir = Self {
            dir: TestDir::new("servers"),
            port: free_port(),
        };
        for app in fs::read_dir(file("tests/servers/apps")).unwrap().flatten() {
            fs::copy(app.path(), dir.path(app.file_name().to_str().unwrap())).unwrap();
        }
        if let Ok(axum) = fs::read(examples().join("axum")) {
            let path = dir.path("target/debug/examples/axum");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, axum).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let big = format!("hello\n{}", "0123456789abcde\n".repeat(1 << 20));
        dir.write("public/index.html", "hello\n");
        dir.write("public/big", &big);
        for (name, content) in &recipe.files {
            dir.write(name, dir.filled_in(content));
        }
        // cargo has built the examples before.
        let ours = |command: &&String| command.starts_with("cargo ");
        for command in recipe.before.iter().filter(|command| !ours(command)) {
            dir.run("before", command, None).wait().ok();
        }
        dir
    }

    /// Replaces a file by rename, as a deployment should: running processes keep the old one.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) {
        let (path, new) = (self.path(name), self.path("new"));
        let permissions = fs::metadata(&path).unwrap().permissions();
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, permissions).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// The text with the port of this server instead of 8080.
    pub(crate) fn filled_in(&self, text: &str) -> String {
        text.replace("8080", &self.port.to_string())
    }

    /// Starts a shell command in the directory; `name.log` is its output, `stdin` its standard input.
    pub(crate) fn run(&self, name: &str, command: &str, stdin: Option<OwnedFd>) -> Running {
        let log = self.path(&format!("{name}.log"));
        let output = append_to(&log);
        let servers = servers();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}/venv/bin:{path}:/usr/sbin", servers.display());
        let mut shell = Command::new("/bin/sh");
        clear_settings(&mut shell);
        shell
            .args(["-c", command])
            .env("PATH", path)
            .env("HOME", self.root())
            .env("GOCACHE", servers.join("gocache"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(self.root())
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Running::start(&mut shell, log.clone(), log)
    }
}

impl std::ops::Deref for ServerDir {
    type Target = TestDir;

    fn deref(&self) -> &TestDir {
        &self.dir
    }
}

impl Drop for ServerDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.dir.names("") {
                if name.ends_with(".log") || name == "status" {
                    eprintln!("--- {name}:\n{}", self.read(&name));
                }
            }
        }
    }
}

/// The directory where tests/servers/install puts servers that are not from Debian.
fn servers() -> PathBuf {
    above_me(3).join("servers")
}

/// The directory of the examples that cargo has built.
fn examples() -> PathBuf {
    above_me(2).join("examples")
}

/// The directory `levels` above TARGET/debug/deps/servers-…
fn above_me(levels: usize) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let above: Option<&Path> = me.ancestors().nth(levels);
    above.unwrap().to_owned()
}
