//! Other releases of the program under test, and the upgrade to them.

use std::process::Command;

use super::{Setup, Supervisor, binary};

pub(crate) const CONTROL: &str = "--control=DIR/control";
pub(crate) const UPGRADE: [&str; 2] = ["--upgrade", CONTROL];
const UPGRADED: &str = "start_server (pid:";

/// With `DIR/start_server`, a copy of the program under test, as the supervisor.
pub(crate) fn setup(options: &[&str]) -> Setup {
    let options: Vec<&str> = [CONTROL].iter().chain(options).copied().collect();
    Setup::new(&options).copied()
}

/// Puts another file into the place of the supervisor's. A shell does it: see `Setup::executable`.
#[track_caller]
pub(crate) fn replace(s: &Supervisor, by: &str) {
    let script = format!("{by} && chmod 755 next && mv next start_server");
    let mut shell = Command::new("/bin/sh");
    let shell = shell.args(["-ec", &script, "sh"]).arg(binary());
    let done = shell.current_dir(s.path("")).status().unwrap();
    assert!(done.success(), "{script}");
}

/// A release like the one that runs, but another file.
pub(crate) const NEXT: &str = "cp \"$1\" next";

/// `DIR/real`, for scripts. Written by another process, for the same reason.
#[track_caller]
pub(crate) fn put_real(s: &Supervisor) -> std::path::PathBuf {
    let real = s.path("real");
    let done = Command::new("cp").arg(binary()).arg(&real).status();
    assert!(done.unwrap().success());
    real
}

pub(crate) fn script(text: &str) -> String {
    format!("printf '%s\\n' '#!/bin/sh' '{text}' >next")
}

pub(crate) fn upgrades(s: &Supervisor) -> usize {
    let lines = s.lines();
    let upgraded = |line: &&String| line.starts_with(UPGRADED) && line.contains(" upgraded ");
    lines.iter().filter(upgraded).count()
}

#[track_caller]
pub(crate) fn wait_upgrades(s: &Supervisor, count: usize) {
    s.eventually(&format!("{count} upgrades"), || upgrades(s) == count);
}
