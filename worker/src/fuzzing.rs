//! The functions that the fuzz targets in `fuzz/` call. They are compiled for tests and with
//! `--cfg fuzzing`, which cargo fuzz sets, and are no part of the library. Each parses the same bytes
//! a second time, with simpler code, and compares the results. `cargo test` calls the same functions
//! with every input of `fuzz/corpus/`, without a fuzzer.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::process;

use crate::environment::entries;
use crate::listen_fds::{Passed, Variables};
use crate::sys;

/// A value of `SERVER_STARTER_PORT`.
pub fn worker_port(data: &[u8]) {
    let value = OsStr::from_bytes(data);
    let expected: Option<Vec<(&[u8], RawFd)>> = match data {
        b"" => Some(Vec::new()),
        _ => data
            .split(|byte| *byte == b';')
            .map(expected_entry)
            .collect(),
    };
    let expected = expected.filter(|list| {
        let mut numbers: Vec<RawFd> = list.iter().map(|(_, fd)| *fd).collect();
        numbers.sort_unstable();
        numbers.windows(2).all(|pair| pair[0] != pair[1])
    });
    match entries(value) {
        Ok(entries) => {
            let pair = |entry: &crate::environment::Entry| (entry.key.clone(), entry.fd);
            let parsed: Vec<(OsString, RawFd)> = entries.iter().map(pair).collect();
            let expected = expected.expect("a well-formed value");
            let expected = expected
                .into_iter()
                .map(|(key, fd)| (OsStr::from_bytes(key).into(), fd));
            assert_eq!(parsed, expected.collect::<Vec<_>>());
        }
        Err(error) => {
            assert_eq!(expected, None, "{error}");
            assert!(
                error.to_string().starts_with("SERVER_STARTER_PORT: "),
                "{error}"
            );
        }
    }
}

fn expected_entry(entry: &[u8]) -> Option<(&[u8], RawFd)> {
    let mut parts = entry.splitn(2, |byte| *byte == b'=');
    let key = parts.next().filter(|key| !key.is_empty())?;
    let fd = number(parts.next()?)?;
    let fd = RawFd::try_from(fd).ok()?;
    (!matches!(fd, 1 | 2)).then_some((key, fd))
}

/// Parses decimal digits. `None` if there is another byte, no digit, or more than 30 digits.
fn number(digits: &[u8]) -> Option<u128> {
    let start = digits.iter().position(|byte| *byte != b'0');
    let significant = &digits[start.unwrap_or(digits.len())..];
    if digits.is_empty() || significant.len() > 30 {
        return None;
    }
    significant.iter().try_fold(0, |number, byte| {
        Some(number * 10 + u128::from(char::from(*byte).to_digit(10)?))
    })
}

/// Values of `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PIDFDID`, separated by NUL. A
/// missing value means that the variable is not set. `self` stands for the pid, or the pidfd id, of
/// this process.
pub fn worker_listen_fds(data: &[u8]) {
    let values: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let own = process::id();
    let own_pidfd = sys::pidfd::own_id();
    let value = |at: usize, own: Option<String>| -> Option<OsString> {
        match (*values.get(at)?, own) {
            (b"self", Some(own)) => Some(own.into()),
            (value, _) => Some(OsStr::from_bytes(value).to_owned()),
        }
    };
    let pid = value(0, Some(own.to_string()));
    let fds = value(1, None);
    let names = value(2, None);
    let pidfd = value(3, own_pidfd.map(|id| id.to_string()));
    let variables = Variables::new(fds.clone(), pid.clone(), pidfd.clone(), names.clone());

    let is_number = |value: &Option<OsString>| value.as_ref().and_then(|v| number(v.as_bytes()));
    let count = is_number(&fds).filter(|count| *count <= (RawFd::MAX - 3) as u128);
    let for_us = is_number(&pid) == Some(own.into());
    let pidfd_is_ours = match (&pidfd, own_pidfd) {
        (None, _) => true,
        (Some(_), None) => is_number(&pidfd).is_some(),
        (Some(_), Some(own)) => is_number(&pidfd) == Some(own.into()),
    };
    let pieces = |names: &OsString| names.as_bytes().split(|byte| *byte == b':').count() as u128;
    match variables.passed() {
        Ok(Passed::Nothing) => assert!(fds.is_none() || pid.is_none()),
        Ok(Passed::ToOther(other)) => {
            assert_eq!(is_number(&pid), Some(other.into()));
            assert!(other != own || !pidfd_is_ours);
        }
        Ok(Passed::ToUs(passed)) => {
            assert!(for_us && pidfd_is_ours);
            assert_eq!(u128::try_from(passed.count).ok(), count);
            // The first 1000 only: there may be two billion.
            let named = passed.fds().take(1000).map(|fd| {
                assert!(passed.contains(fd));
                passed.name(fd).unwrap_or_default()
            });
            let named: Vec<OsString> = named.collect();
            if let Some(names) = names {
                let is_complete = named.len() as u128 == passed.count as u128;
                assert!(!is_complete || named.join(OsStr::new(":")) == names);
            }
        }
        Err(error) => {
            let bad_pid = is_number(&pid).is_none_or(|pid| pid == 0 || pid > u32::MAX.into());
            let bad_pidfd =
                pidfd.is_some() && is_number(&pidfd).is_none_or(|id| id > u64::MAX.into());
            let bad_names = names.is_some_and(|names| {
                let none = names.is_empty() && count == Some(0);
                !none && Some(pieces(&names)) != count
            });
            assert!(
                bad_pid || for_us && (bad_pidfd || count.is_none() || bad_names),
                "{error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 2] = [
        ("worker_listen_fds", super::worker_listen_fds),
        ("worker_port", super::worker_port),
    ];

    /// Handwritten inputs are also cut after every byte: truncated input is the most common error.
    #[test]
    fn targets_accept_every_input_of_the_corpus() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        if !fuzz.exists() {
            return; // the published package has no corpus
        }
        let corpus = fuzz.join("corpus");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpus.join(name)).expect(name);
            let mut count = 0;
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display()); // shown if the test fails
                let bytes = fs::read(&input).unwrap();
                let cases = bytes.split(|byte| *byte == 0x1e); // as in `fuzz/`
                cases.for_each(target);
                let is_handwritten = input.file_name().unwrap().len() < 40; // else a digest
                let ends = 0..if is_handwritten { bytes.len() } else { 0 };
                ends.for_each(|end| target(&bytes[..end]));
                count += 1;
            }
            assert!(count > 0, "{name}: the corpus is empty");
        }
    }
}
