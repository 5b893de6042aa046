//! Fuzz target `takeover`: the files in /proc whose content other processes choose, see
//! [`crate::fuzzing`].

use std::path::Path;

use super::environ::{self, Told};
use super::listening;

/// Parses the input as the environment of a process, and as the tables of sockets.
pub fn takeover(data: &[u8]) {
    check_environment(data);
    let table = String::from_utf8_lossy(data);
    let numbers: Vec<u64> = table
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let mut found = listening::of_path(&table, Path::new("/run/a b"));
    for (address, udp) in [("127.0.0.1:80", false), ("[::1]:80", true)] {
        let address = address.parse().expect("an address");
        found.extend(listening::of_address(&table, address, udp));
    }
    let all_known = found.iter().all(|inode| numbers.contains(inode));
    assert!(all_known, "{found:?} are not in the table");
}

fn check_environment(data: &[u8]) {
    let value = |name: &str| {
        let entries = data.split(|byte| *byte == 0);
        entries
            .filter_map(|entry| std::str::from_utf8(entry).ok())
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    };
    match environ::parse(data) {
        Told::Worker {
            generation,
            sockets,
        } => {
            let text = value("SERVER_STARTER_GENERATION").expect("the variable");
            assert_eq!(text.parse(), Ok(generation));
            assert!(sockets.iter().all(|(_, number)| *number >= 0));
        }
        Told::Overwritten => {
            assert!(!data.is_empty());
            assert_eq!(value("SERVER_STARTER_GENERATION"), None);
            assert_eq!(value("PATH"), None, "not overwritten");
        }
        Told::Nothing => {}
    }
}
