//! Signals by name and number, signal(7).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal that can be sent, 1 to SIGRTMAX.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

impl TryFrom<i32> for Signal {
    type Error = String;

    fn try_from(number: i32) -> Result<Signal, String> {
        Signal::from_number(number).ok_or_else(|| format!("{number} is not a signal"))
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.0
    }
}

impl Signal {
    /// SIGHUP
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// SIGINT
    pub const INT: Signal = Signal(libc::SIGINT);
    /// SIGQUIT
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// SIGABRT
    pub const ABRT: Signal = Signal(libc::SIGABRT);
    /// SIGKILL
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// SIGUSR1
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// SIGUSR2
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    /// SIGTERM
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// SIGCHLD
    pub const CHLD: Signal = Signal(libc::SIGCHLD);

    /// The number of the signal, which differs between architectures.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The signal with this number; `None` if there is none.
    pub fn from_number(number: i32) -> Option<Signal> {
        (1..=libc::SIGRTMAX())
            .contains(&number)
            .then_some(Signal(number))
    }

    fn from_name(name: &str) -> Option<Signal> {
        if let Ok(known) = format!("SIG{name}").parse::<nix::sys::signal::Signal>() {
            return Some(Signal(known as i32));
        }
        let number = match name {
            "CLD" => libc::SIGCHLD,
            "POLL" => libc::SIGPOLL,
            "RTMIN" => libc::SIGRTMIN(),
            "RTMAX" => libc::SIGRTMAX(),
            _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(n), _) => libc::SIGRTMIN().checked_add(n.parse().ok()?)?,
                (_, Some(n)) => libc::SIGRTMAX().checked_sub(n.parse().ok()?)?,
                (None, None) => return None,
            },
        };
        let real_time = name.starts_with("RT");
        let valid = if real_time {
            libc::SIGRTMIN()..=libc::SIGRTMAX()
        } else {
            1..=31
        };
        valid.contains(&number).then_some(Signal(number))
    }
}

impl fmt::Display for Signal {
    /// The name without `SIG`: `TERM`, `RTMIN+3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(known) = nix::sys::signal::Signal::try_from(self.0) {
            return f.write_str(known.as_str().trim_start_matches("SIG"));
        }
        match self.0 - libc::SIGRTMIN() {
            0 => f.write_str("RTMIN"),
            n if n > 0 => write!(f, "RTMIN+{n}"),
            _ => write!(f, "{}", self.0), // 32 and 33, which the C library uses itself
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIG{self}")
    }
}

impl FromStr for Signal {
    type Err = String;

    /// Parses a name or a number: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3`.
    fn from_str(text: &str) -> Result<Signal, String> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let signal = match name.parse::<i32>() {
            Ok(number) => Signal::from_number(number),
            Err(_) => Signal::from_name(name),
        };
        signal.ok_or_else(|| "no such signal (a name such as TERM, or a number)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_is_a_name_in_either_case_or_a_number() {
        for text in ["TERM", "SIGTERM", "term", "sigterm", "15", " Term "] {
            assert_eq!(text.parse(), Ok(Signal::TERM), "{text}");
        }
        assert_eq!("rtmin+3".parse::<Signal>().unwrap().to_string(), "RTMIN+3");
        assert_eq!(
            "RTMAX".parse::<Signal>().unwrap().number(),
            libc::SIGRTMAX()
        );
        assert_eq!("CLD".parse::<Signal>().unwrap().to_string(), "CHLD");
    }

    #[test]
    fn text_that_is_not_a_signal_is_refused() {
        for text in [
            "", "SIG", "FOO", "0", "-1", "65", "99", "15.5", "RTMIN+99", "RTMAX-40", "RTMIN+-5",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
