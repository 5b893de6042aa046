//! Fuzz target `notification`: a worker's datagram, see [`crate::fuzzing`].

use std::time::Duration;

use super::message::{Field, MAX_LENGTH, fields};
use crate::machine::Notification;
use crate::types::fuzz::integer;

/// Parses one datagram, and compares its fields with those of `parse_line`.
pub fn notification(data: &[u8]) {
    if data.len() > MAX_LENGTH {
        return; // refused before parsing, as by systemd
    }
    let parsed: Vec<Field> = fields(data).collect();
    let mut lines = data.split(|byte| *byte == b'\n');
    for field in &parsed {
        let expected = lines.find_map(parse_line);
        match field {
            Field::Status(text) => check_status(text, expected),
            field => assert_eq!(Some(field), expected.as_ref()),
        }
    }
    assert_eq!(lines.find_map(parse_line), None);

    // Each line is parsed independently of the others.
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        let apart: Vec<Field> = fields(&data[..end]).chain(fields(&data[end..])).collect();
        assert_eq!(apart, parsed);
    }
}

fn parse_line(line: &[u8]) -> Option<Field> {
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
        let signed = line.contains(&b'-'); // -0 is refused, too
        return (!signed)
            .then(|| Field::Notification(Notification::Extend(Duration::from_micros(micros))));
    }
    let text = line.strip_prefix(b"STATUS=")?;
    Some(Field::Status(String::from_utf8_lossy(text).into_owned()))
}

/// The text is one line without control characters: the text that was sent, or its beginning.
fn check_status(shown: &str, sent: Option<Field>) {
    let Some(Field::Status(sent)) = sent else {
        panic!("no STATUS was sent: {shown:?}")
    };
    assert!(shown.len() <= 300 + '…'.len_utf8() && !shown.contains(char::is_control));
    let sent: String = sent.chars().filter(|c| !c.is_control()).collect();
    match shown.strip_suffix('…').filter(|_| shown.len() >= 300) {
        Some(beginning) => assert!(sent.starts_with(beginning)),
        None => assert_eq!(shown, sent),
    }
}
