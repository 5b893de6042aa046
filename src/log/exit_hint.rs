//! What the exit status of a worker that did not start may mean, for its log line.

use crate::sys::process::{exit_code, killed_by};
use crate::types::Signal;

/// What the status stands for by convention: of the shell, of sysexits.h, and of systemd, systemd.exec(5).
/// `None` if it stands for nothing in particular, or the worker was killed.
pub(super) fn exit_hint(status: i32) -> Option<String> {
    if killed_by(status).is_some() {
        return None;
    }
    let hint = match exit_code(status) {
        0 => "a worker has to stay in the foreground: switch off its daemon mode",
        64 => "EX_USAGE: its command line was wrong",
        66 => "EX_NOINPUT: it could not read a file",
        69 => "EX_UNAVAILABLE: something that it needs was not available",
        71 => "EX_OSERR: the system refused something",
        73 => "EX_CANTCREAT: it could not create a file",
        77 => "EX_NOPERM: it had no permission",
        78 => "EX_CONFIG: its configuration was wrong",
        126 => "the shell found the program but could not run it: is it executable?",
        127 => "the shell did not find the program: is it installed, and in PATH?",
        200 => "CHDIR of systemd: the directory does not exist or cannot be entered",
        203 => "EXEC of systemd: the program does not exist or cannot be run",
        216 => "GROUP of systemd: the group does not exist or cannot be taken",
        217 => "USER of systemd: the user does not exist or cannot be taken",
        226 => "NAMESPACE of systemd: a path of its sandbox does not exist",
        code @ 129..=192 => {
            let signal = Signal::from_number(code - 128)?;
            return Some(format!(
                "a shell says that its program was killed by {signal}"
            ));
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_statuses_have_a_hint_and_others_have_none() {
        let of_code = |code: i32| exit_hint(code << 8);
        assert!(of_code(0).unwrap().contains("foreground"));
        assert!(of_code(127).unwrap().contains("did not find the program"));
        assert!(of_code(137).unwrap().ends_with("killed by KILL"));
        assert_eq!(of_code(1), None);
        assert_eq!(exit_hint(9), None, "killed by KILL");
    }
}
