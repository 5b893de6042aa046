//! A machine for one test, which would disturb others: it installs packages, or stops the journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use server_starter_testing::Output;

use super::Machine;

/// Shut down when dropped. (`tests/systemd/run` shuts down what a killed test has left.)
pub(super) struct Own {
    pub(super) machine: &'static Machine,
    dir: PathBuf,
}

impl Own {
    /// Boots a machine like the shared one of that version, without `start_server`.
    pub(super) fn boot(version: &str, name: &str) -> Result<Own, String> {
        let machines = std::env::var_os("START_SERVER_MACHINES")
            .ok_or("no systemd was booted (run tests/systemd/run, as root)")?;
        let options = fs::read_to_string(Path::new(&machines).join(version).join("options"))
            .map_err(|e| format!("it was not booted ({e})"))?;
        let dir = Path::new(&machines).join(format!("{version}-{name}"));
        manage("up", &dir, options.lines());
        let machine = Box::leak(Box::new(Machine::at(&dir).unwrap()));
        Ok(Own { machine, dir })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        manage("down", &self.dir, [].into_iter());
    }
}

fn manage<'a>(command: &str, dir: &Path, options: impl Iterator<Item = &'a str>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/lab/machine");
    let mut manage = Command::new(script);
    let done = Output::of(manage.arg(command).arg(dir).args(options));
    if !done.status.success() && !std::thread::panicking() {
        panic!("{done}");
    }
}
