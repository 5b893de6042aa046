//! The line a worker answers with: written by [`crate::workers`], read and checked by [`crate::running`].

use std::fmt;

/// Who answered, and what it was handed.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Given to the worker on its command line: tells this start's workers from any other's.
    pub(crate) token: String,
    /// `SERVER_STARTER_GENERATION`.
    pub(crate) generation: u32,
    /// The worker's own pid.
    pub(crate) pid: i32,
    /// Entries in `SERVER_STARTER_PORT`.
    pub(crate) sockets: usize,
    /// Key of the first entry.
    pub(crate) key: String,
    /// When it said READY=1, in nanoseconds of the monotonic clock; 0: it did not.
    pub(crate) ready_at: u64,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            generation,
            pid,
            sockets,
            key,
            ready_at,
        } = self;
        write!(f, "{token} {generation} {pid} {sockets} {key} {ready_at}")
    }
}

impl Answer {
    /// Reads a line back.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let wrong = || format!("not a worker's answer: {line:?}");
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or_else(wrong);
        let answer = Self {
            token: next()?.to_owned(),
            generation: next()?.parse().map_err(|_| wrong())?,
            pid: next()?.parse().map_err(|_| wrong())?,
            sockets: next()?.parse().map_err(|_| wrong())?,
            key: next()?.to_owned(),
            ready_at: next()?.parse().map_err(|_| wrong())?,
        };
        if words.next().is_some() {
            Err(wrong())
        } else {
            Ok(answer)
        }
    }
}
