//! The datagrams of workers, sd_notify(3). A few fields are understood; all others are dropped. MAINPID,
//! STOPPING and RELOADING of a worker would be wrong for the unit.

use std::time::Duration;

use crate::machine::Notification;

/// A longer message is dropped, as systemd does.
pub(super) const MAX_LENGTH: usize = 4096;

/// A longer STATUS is cut, in bytes: it becomes part of the supervisor's.
const MAX_STATUS: usize = 300;

/// The longest time of an option, parse_seconds(): the limit of time_t on 32-bit machines.
const MAX_EXTENSION: Duration = Duration::from_secs(1_000_000_000);

/// A field that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Notification(Notification),
    /// STATUS: a line of text without control characters.
    Status(String),
    /// ERRNO: the errno(3) of a failure.
    Errno(i32),
}

/// The fields, in order.
pub(super) fn fields(datagram: &[u8]) -> impl Iterator<Item = Field> + '_ {
    datagram.split(|byte| *byte == b'\n').filter_map(field)
}

fn field(line: &[u8]) -> Option<Field> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&line[..equals], &line[equals + 1..]);
    let notification = match (name, value) {
        (b"READY", b"1") => Notification::Ready,
        (b"WATCHDOG", b"1") => Notification::Ping,
        (b"WATCHDOG", b"trigger") => Notification::Stuck,
        (b"EXTEND_TIMEOUT_USEC", usec) => {
            Notification::Extend(Duration::from_micros(number(usec)?).min(MAX_EXTENSION))
        }
        (b"ERRNO", errno) => return number(errno).map(Field::Errno),
        (b"STATUS", text) => return Some(Field::Status(status(text))),
        _ => return None,
    };
    Some(Field::Notification(notification))
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn status(text: &[u8]) -> String {
    let mut status: String = String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    if status.len() > MAX_STATUS {
        let end = (0..=MAX_STATUS)
            .rev()
            .find(|at| status.is_char_boundary(*at));
        status.truncate(end.unwrap_or(0));
        status.push('…');
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(datagram: &[u8]) -> Vec<Field> {
        fields(datagram).collect()
    }

    #[test]
    fn known_fields_are_understood() {
        let text = b"READY=1\nSTATUS=up and running\nWATCHDOG=1\nWATCHDOG=trigger\n\
                     EXTEND_TIMEOUT_USEC=1500000\nERRNO=2\n";
        let extend = Notification::Extend(Duration::from_millis(1500));
        assert_eq!(
            read(text),
            [
                Field::Notification(Notification::Ready),
                Field::Status("up and running".to_owned()),
                Field::Notification(Notification::Ping),
                Field::Notification(Notification::Stuck),
                Field::Notification(extend),
                Field::Errno(2),
            ]
        );
    }

    #[test]
    fn unknown_and_invalid_fields_are_dropped() {
        for text in [
            "",
            "\n\n",
            "READY",
            "READY=",
            "READY=0",
            "READY=11",
            " READY=1",
            "ready=1",
            "READY=1 ",
            "MAINPID=1",
            "STOPPING=1",
            "RELOADING=1",
            "FDSTORE=1",
            "BARRIER=1",
            "WATCHDOG=2",
            "WATCHDOG_USEC=5",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=99999999999999999999999",
            "EXTEND_TIMEOUT_USEC=x",
            "ERRNO=no",
            "=1",
        ] {
            assert_eq!(read(text.as_bytes()), [], "{text:?}");
        }
        let garbage: Vec<u8> = (0..=255).cycle().take(MAX_LENGTH).collect();
        assert_eq!(read(&garbage), []);
    }

    #[test]
    fn status_is_cut_and_has_no_control_characters() {
        let cleaned = read(b"STATUS=\x1b[31mred\x07\t\xff\x00end");
        assert_eq!(cleaned, [Field::Status("[31mred\u{fffd}end".to_owned())]);
        let long = format!("STATUS={}", "é".repeat(1000));
        let [Field::Status(status)] = &read(long.as_bytes())[..] else {
            panic!("no status")
        };
        assert!(
            status.len() <= MAX_STATUS + 3 && status.ends_with("é…"),
            "{status}"
        );
    }
}
