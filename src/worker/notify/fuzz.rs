//! Garbage for the notification socket; see [`crate::fuzzing`].

use std::time::Duration;

use super::message::{Field, LONGEST, fields};
use crate::fuzzing::integer;
use crate::machine::Notification;

/// One datagram.
pub fn notification(data: &[u8]) {
    if data.len() > LONGEST {
        return; // none, as for systemd
    }
    let read: Vec<Field> = fields(data).collect();
    let mut lines = data.split(|byte| *byte == b'\n');
    for field in &read {
        let expected = lines.find_map(second_reading);
        match field {
            Field::Status(text) => status(text, expected),
            field => assert_eq!(Some(field), expected.as_ref()),
        }
    }
    assert_eq!(lines.find_map(second_reading), None);

    // No line has anything to do with another one.
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        let apart: Vec<Field> = fields(&data[..end]).chain(fields(&data[end..])).collect();
        assert_eq!(apart, read);
    }
}

fn second_reading(line: &[u8]) -> Option<Field> {
    match line {
        b"READY=1" => return Some(Field::Notification(Notification::Ready)),
        b"WATCHDOG=1" => return Some(Field::Notification(Notification::Ping)),
        b"WATCHDOG=trigger" => return Some(Field::Notification(Notification::Stuck)),
        _ => {}
    }
    if let Some(errno) = line.strip_prefix(b"ERRNO=") {
        return i32::try_from(integer(errno)?).ok().map(Field::Errno);
    }
    if let Some(micros) = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
        let micros = u64::try_from(integer(micros)?)
            .ok()?
            .min(1_000_000_000_000_000);
        let signed = line.contains(&b'-'); // not even -0
        return (!signed)
            .then(|| Field::Notification(Notification::Extend(Duration::from_micros(micros))));
    }
    let text = line.strip_prefix(b"STATUS=")?;
    Some(Field::Status(String::from_utf8_lossy(text).into_owned()))
}

/// One line that a terminal may see, and the beginning, at least, of what was said.
fn status(shown: &str, said: Option<Field>) {
    let Some(Field::Status(said)) = said else {
        panic!("no STATUS was said: {shown:?}")
    };
    assert!(shown.len() <= 300 + '…'.len_utf8() && !shown.contains(char::is_control));
    let said: String = said.chars().filter(|c| !c.is_control()).collect();
    match shown.strip_suffix('…').filter(|_| shown.len() >= 300) {
        Some(beginning) => assert!(said.starts_with(beginning)),
        None => assert_eq!(shown, said),
    }
}
