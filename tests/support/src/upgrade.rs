//! Upgrades in place: other programs in the place of the supervisor's file, see [`SupervisorBuilder::copied`].
//!
//! [`SupervisorBuilder::copied`]: crate::SupervisorBuilder::copied

use std::path::PathBuf;

use crate::{Program, Supervisor, TestDir};

/// For [`replace_program`]: the program under test, in a new file.
pub const SAME_PROGRAM: &str = "cp \"$1\" next";

/// For [`replace_program`]: a shell script, without single quotes in it.
pub fn script(text: &str) -> String {
    format!("printf '%s\\n' '#!/bin/sh' '{text}' >next")
}

/// Replaces `DIR/start_server` by the file `next` that the shell command `create_next` writes. Its `$1` is the program
/// under test.
#[track_caller]
pub fn replace_program(dir: &TestDir, program: &Program, create_next: &str) {
    let script = format!("{create_next} && chmod 755 next && mv next start_server");
    dir.shell(&script, &[program.path()]);
}

impl Supervisor {
    /// Replaces the file of the supervisor, see [`replace_program`].
    #[track_caller]
    pub fn replace_program(&self, create_next: &str) {
        replace_program(self.dir(), self.program(), create_next);
    }

    /// A copy of the program under test, for scripts.
    #[track_caller]
    pub fn copy_program(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        self.dir()
            .shell("cp \"$1\" \"$2\"", &[self.program().path(), &copy]);
        copy
    }

    /// How often the supervisor was upgraded, according to its log.
    pub fn upgrades(&self) -> usize {
        let lines = self.lines();
        let upgraded =
            |line: &&String| line.starts_with("start_server (pid:") && line.contains(" upgraded ");
        lines.iter().filter(upgraded).count()
    }

    /// Waits until the supervisor was upgraded so often.
    #[track_caller]
    pub fn wait_upgrades(&self, count: usize) {
        self.eventually(&format!("{count} upgrades"), || self.upgrades() == count);
    }
}
