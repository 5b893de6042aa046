//! Variables with the pid of the process that is started: `LISTEN_PID` of sd_listen_fds(3),
//! `WATCHDOG_PID` of sd_watchdog_enabled(3). They are allocated before fork(2); the child, which must not
//! allocate, writes the digits.

use std::ptr;

/// The bytes of the longest 32-bit number, `-2147483648`, and a NUL byte.
const PID_SIZE: usize = 12;

/// `NAME=PID`, where the pid is filled in later.
pub(super) struct PidEnv {
    text: Vec<u8>,
    digits_at: usize,
}

impl PidEnv {
    pub(super) fn new(name: &str) -> PidEnv {
        let mut text = name.as_bytes().to_vec();
        text.push(b'=');
        let digits_at = text.len();
        text.resize(digits_at + PID_SIZE, 0);
        PidEnv { text, digits_at }
    }

    /// The address of the NUL-terminated variable, an element of environ(7).
    pub(super) fn as_ptr(&self) -> *const libc::c_char {
        self.text.as_ptr().cast()
    }

    /// Writes the pid of the calling process. Allocates nothing.
    pub(super) fn fill_in(&mut self) {
        // SAFETY: getpid(2) always succeeds.
        let mut rest = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0_u8; PID_SIZE];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        // Without leading zeros, which sd_listen_fds(3) of systemd 252 refuses.
        let space = self.text.iter_mut().skip(self.digits_at);
        let digits = digits.iter().take(count).rev();
        space.zip(digits).for_each(|(to, digit)| *to = *digit);
    }
}

/// The `envp` of execve(2): pointers to all variables, and a null pointer.
pub(super) fn envp<'a>(
    strings: impl Iterator<Item = &'a std::ffi::CString>,
    pids: &[PidEnv],
) -> Vec<*const libc::c_char> {
    // getenv(3) finds the first of two variables with the same name.
    pids.iter()
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
    fn variable_has_the_pid_of_this_process_without_leading_zeros() {
        let mut variable = PidEnv::new("LISTEN_PID");
        variable.fill_in();
        // SAFETY: the variable is NUL-terminated and outlives `text`.
        let text = unsafe { CStr::from_ptr(variable.as_ptr()) };
        let expected = format!("LISTEN_PID={}", std::process::id());
        assert_eq!(text.to_str().unwrap(), expected);
    }
}
