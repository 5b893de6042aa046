//! Variables with the pid of a process that does not exist yet: `LISTEN_PID` of sd_listen_fds(3),
//! `WATCHDOG_PID` of sd_watchdog_enabled(3). Their room is made before fork(2), and the child, which
//! must not allocate, writes the digits.

use std::ptr;

/// The longest pid, `-2147483648`, and the NUL byte.
const ROOM: usize = 12;

/// `NAME=`, and room for a pid.
pub(super) struct PidEnv {
    text: Vec<u8>,
    digits_at: usize,
}

impl PidEnv {
    pub(super) fn new(name: &str) -> PidEnv {
        let mut text = name.as_bytes().to_vec();
        text.push(b'=');
        let digits_at = text.len();
        text.resize(digits_at + ROOM, 0);
        PidEnv { text, digits_at }
    }

    /// Where the variable will stand: what `environ` holds.
    pub(super) fn as_ptr(&self) -> *const libc::c_char {
        self.text.as_ptr().cast()
    }

    /// Writes the pid of the process that calls. Allocates nothing.
    pub(super) fn fill_in(&mut self) {
        // SAFETY: getpid(2) always succeeds.
        let mut rest = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0_u8; ROOM];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let room = self.text.iter_mut().skip(self.digits_at);
        // No zeros in front: sd_listen_fds(3) of systemd 252 takes none.
        let written = room.zip(digits.iter().take(count).rev());
        written.for_each(|(to, digit)| *to = *digit);
    }
}

/// Pointers to all strings, and the null at their end, as `environ` wants them.
pub(super) fn block<'a>(
    strings: impl Iterator<Item = &'a std::ffi::CString>,
    own: &[PidEnv],
) -> Vec<*const libc::c_char> {
    // First: of a name that is there twice, getenv(3) finds the first.
    own.iter()
        .map(PidEnv::as_ptr)
        .chain(strings.map(|s| s.as_ptr()))
        .chain([ptr::null()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_digits_and_nothing_in_front_of_them() {
        let mut variable = PidEnv::new("LISTEN_PID");
        variable.fill_in();
        // SAFETY: it is NUL-terminated, and lives.
        let text = unsafe { CStr::from_ptr(variable.as_ptr()) };
        let expected = format!("LISTEN_PID={}", std::process::id());
        assert_eq!(text.to_str().unwrap(), expected);
    }
}
