//! What the fuzz targets in `fuzz/` call, each with whatever bytes come along. There is nothing of it
//! in the library: cargo fuzz builds with `--cfg fuzzing`. The same bytes are read a second time, in a
//! simpler way, and both have to see the same. The inputs that are worth keeping go through the same
//! functions in every `cargo test`.

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
    let second: Option<Vec<(&[u8], RawFd)>> = match data {
        b"" => Some(Vec::new()),
        _ => data
            .split(|byte| *byte == b';')
            .map(second_reading)
            .collect(),
    };
    let second = second.filter(|list| {
        let mut numbers: Vec<RawFd> = list.iter().map(|(_, fd)| *fd).collect();
        numbers.sort_unstable();
        numbers.windows(2).all(|pair| pair[0] != pair[1])
    });
    match entries(value) {
        Ok(entries) => {
            let pair = |entry: &crate::environment::Entry| (entry.key.clone(), entry.fd);
            let read: Vec<(OsString, RawFd)> = entries.iter().map(pair).collect();
            let second = second.expect("a value that makes sense");
            let second = second
                .into_iter()
                .map(|(key, fd)| (OsStr::from_bytes(key).into(), fd));
            assert_eq!(read, second.collect::<Vec<_>>());
        }
        Err(error) => {
            assert_eq!(second, None, "{error}");
            assert!(
                error.to_string().starts_with("SERVER_STARTER_PORT: "),
                "{error}"
            );
        }
    }
}

fn second_reading(entry: &[u8]) -> Option<(&[u8], RawFd)> {
    let mut parts = entry.splitn(2, |byte| *byte == b'=');
    let key = parts.next().filter(|key| !key.is_empty())?;
    let fd = number(parts.next()?)?;
    let fd = RawFd::try_from(fd).ok()?;
    (!matches!(fd, 1 | 2)).then_some((key, fd))
}

/// Digits alone; as far as anybody can count.
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

/// `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PIDFDID`, with a NUL between them; what is
/// missing is not set. `self` is what it would be if we were meant.
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
            // The first ones will do: there may be two billion.
            let told = passed.fds().take(1000).map(|fd| {
                assert!(passed.contains(fd));
                passed.name(fd).unwrap_or_default()
            });
            let told: Vec<OsString> = told.collect();
            if let Some(names) = names {
                let few = told.len() as u128 == passed.count as u128;
                assert!(!few || told.join(OsStr::new(":")) == names);
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

    /// As they are; and those made by hand cut short after every byte, too.
    #[test]
    fn the_kept_inputs() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        if !fuzz.exists() {
            return; // the published package has no corpus
        }
        let corpus = fuzz.join("corpus");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpus.join(name)).expect(name);
            let mut count = 0;
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display()); // seen if it fails
                let bytes = fs::read(&input).unwrap();
                target(&bytes);
                let by_hand = input.file_name().unwrap().len() < 40; // else a digest
                let ends = 0..if by_hand { bytes.len() } else { 0 };
                ends.for_each(|end| target(&bytes[..end]));
                count += 1;
            }
            assert!(count > 0, "{name}: there is nothing to try");
        }
    }
}
