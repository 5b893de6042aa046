//! A machine of a test's own, for what the others must not feel: packages that come and go, a journal
//! that stops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Lab;

/// Taken down when dropped. (`tests/systemd/run` takes down what is left of a test that was killed.)
pub(super) struct Own {
    pub(super) lab: &'static Lab,
    dir: PathBuf,
}

impl Own {
    /// Boots one like the shared one of that version, in which nothing of ours is installed.
    pub(super) fn boot(version: &str, name: &str) -> Result<Own, String> {
        let labs = std::env::var_os("START_SERVER_LABS")
            .ok_or("no systemd was booted for it (run tests/systemd/run, as root)")?;
        let options = fs::read_to_string(Path::new(&labs).join(version).join("options"))
            .map_err(|e| format!("it is not among those that were booted ({e})"))?;
        let dir = Path::new(&labs).join(format!("{version}-{name}"));
        machine("up", &dir, options.lines());
        let lab = Box::leak(Box::new(Lab::at(&dir).unwrap()));
        Ok(Own { lab, dir })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        machine("down", &self.dir, [].into_iter());
    }
}

fn machine<'a>(command: &str, dir: &Path, options: impl Iterator<Item = &'a str>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/lab/machine");
    let done = Command::new(script)
        .arg(command)
        .arg(dir)
        .args(options)
        .output()
        .unwrap();
    let failed = !done.status.success();
    if failed && !std::thread::panicking() {
        panic!(
            "machine {command}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}
