//! The program under test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The [`Program`] of a test target. The path of the program that was just built is known to the product's own test
/// targets alone, hence a macro.
#[macro_export]
macro_rules! program {
    () => {
        $crate::Program::new(env!("CARGO_BIN_EXE_start_server"))
    };
}

/// The program under test: the one named by `START_SERVER`, by default the one just built. See [`program!`].
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    built: PathBuf,
}

impl Program {
    /// `built` is the program just built.
    pub fn new(built: &str) -> Self {
        let path = std::env::var_os("START_SERVER").unwrap_or_else(|| OsString::from(built));
        Self {
            path: std::path::absolute(path).unwrap(),
            built: built.into(),
        }
    }

    /// The program's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An example program that was built beside the program.
    #[track_caller]
    pub fn example(&self, name: &str) -> PathBuf {
        let path = self.built.with_file_name("examples").join(name);
        let shown = path.display();
        assert!(
            path.exists(),
            "{shown} is missing: cargo build --examples --workspace"
        );
        path
    }
}

/// Removes from the command's environment what the program, its workers and other servers understand.
pub fn clear_settings(command: &mut Command) {
    const NAMES: [&str; 8] = [
        "ENVDIR",
        "ENABLE_AUTO_RESTART",
        "AUTO_RESTART_INTERVAL",
        "FDSTORE",
        "KILL_OLD_DELAY",
        "POSIXLY_CORRECT",
        "RUNTIME_DIRECTORY",
        "XDG_RUNTIME_DIR",
    ];
    const PREFIXES: [&str; 4] = ["SERVER_STARTER_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let known = NAMES.iter().any(|it| text == *it);
        if known || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}
