//! Parses `SERVER_STARTER_PORT` and decimal numbers. Values are bytes: the path of a socket need not
//! be UTF-8.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::{self, FromStr};

use crate::error::{EntryError, Error};

/// One `KEY=FD` of `SERVER_STARTER_PORT`. Parsed only: the descriptor may be closed or no socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: OsString,
    pub(crate) fd: RawFd,
}

impl Entry {
    /// The entry as it is written in the variable.
    fn text(&self) -> OsString {
        let mut text = self.key.clone();
        text.push(format!("={}", self.fd));
        text
    }

    /// An error that names this entry.
    pub(crate) fn error(&self, reason: EntryError) -> Error {
        let entry = self.text();
        Error::Entry { entry, reason }
    }
}

/// Parses the value of `SERVER_STARTER_PORT`. An empty value means no sockets. Keys may repeat (TCP
/// and UDP on one port have the same key), descriptors may not.
pub(crate) fn entries(value: &OsStr) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = Vec::new();
    if value.is_empty() {
        return Ok(entries);
    }
    for text in value.as_bytes().split(|&byte| byte == b';') {
        let entry = entry(text).map_err(|reason| Error::Entry {
            entry: OsString::from_vec(text.to_vec()),
            reason,
        })?;
        if entries.iter().any(|earlier| earlier.fd == entry.fd) {
            return Err(entry.error(EntryError::Repeated));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(text: &[u8]) -> Result<Entry, EntryError> {
    // Split at the first `=`: start_server refuses a path that contains one.
    let Some(equals) = text.iter().position(|&byte| byte == b'=') else {
        return Err(EntryError::Malformed);
    };
    let (key, fd) = (&text[..equals], &text[equals + 1..]);
    if key.is_empty() {
        return Err(EntryError::Malformed);
    }
    match decimal(fd) {
        None => Err(EntryError::NotANumber),
        Some(1 | 2) => Err(EntryError::StandardOutput),
        Some(fd) => Ok(Entry {
            key: OsString::from_vec(key.to_vec()),
            fd,
        }),
    }
}

/// Parses decimal digits and nothing else: `+3`, ` 3` and `-1` are refused. `None` if the number
/// does not fit `N`.
pub(crate) fn decimal<N: FromStr>(digits: &[u8]) -> Option<N> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &[u8]) -> Vec<(Vec<u8>, RawFd)> {
        let entries = entries(OsStr::from_bytes(value)).expect("a well-formed value");
        let pair = |entry: Entry| (entry.key.into_vec(), entry.fd);
        entries.into_iter().map(pair).collect()
    }

    fn refused(value: &str) -> String {
        match entries(OsStr::new(value)) {
            Ok(entries) => panic!("{value:?} was read as {entries:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn entries_keep_every_kind_of_key_and_their_order() {
        assert_eq!(
            parsed(b"8080=3;127.0.0.1:8080=4;[::1]:8080=5;/run/x.sock=0;8080=10"),
            [
                (b"8080".to_vec(), 3),
                (b"127.0.0.1:8080".to_vec(), 4),
                (b"[::1]:8080".to_vec(), 5),
                (b"/run/x.sock".to_vec(), 0),
                (b"8080".to_vec(), 10),
            ]
        );
    }

    #[test]
    fn empty_value_means_no_sockets() {
        assert_eq!(parsed(b""), []);
    }

    #[test]
    fn key_need_not_be_utf_8() {
        assert_eq!(
            parsed(b"/run/\xff.sock=3"),
            [(b"/run/\xff.sock".to_vec(), 3)]
        );
    }

    #[test]
    fn entry_without_key_or_descriptor_is_malformed() {
        for value in ["8080", ";", "8080=3;", ";8080=3", "=3", "8080=3;;9090=4"] {
            let message = refused(value);
            assert!(message.contains("is not KEY=FD"), "{value:?}: {message}");
        }
    }

    #[test]
    fn descriptor_with_other_characters_than_digits_is_refused() {
        for value in [
            "a=",
            "a=x",
            "a=-1",
            "a=+3",
            "a= 3",
            "a=3 ",
            "a=3=4",
            "a=2147483648",
        ] {
            let message = refused(value);
            assert!(message.contains("not a descriptor"), "{value:?}: {message}");
        }
    }

    #[test]
    fn descriptors_1_and_2_are_refused() {
        assert!(refused("8080=1").contains(r#""8080=1""#));
        assert!(refused("8080=3;9090=2").contains(r#""9090=2""#));
    }

    #[test]
    fn repeated_descriptor_is_refused() {
        let message = refused("8080=3;9090=4;[::1]:80=3");
        assert!(message.contains(r#""[::1]:80=3""#), "{message}");
        assert!(message.contains("another entry"), "{message}");
    }

    #[test]
    fn decimal_is_none_beyond_the_range_or_without_digits() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal::<u64>(b"18446744073709551616"), None);
        assert_eq!(decimal::<u64>(b""), None);
        assert_eq!(decimal::<u64>(b"\xb2"), None);
    }
}
