//! The log lines of a supervisor. Waiting for one after the other proves their order.

use std::sync::atomic::Ordering;

use crate::{BOUND, Process, Supervisor, wait_for};

impl Supervisor {
    /// The whole log; the output of the workers, too, if it goes to the same file.
    pub fn log(&self) -> String {
        self.read(self.builder.log)
    }

    /// The complete lines of the log.
    pub fn lines(&self) -> Vec<String> {
        let log = self.log();
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        complete.lines().map(str::to_owned).collect()
    }

    /// Waits for this line after the one waited for last. More words may follow on the line.
    #[track_caller]
    pub fn wait_line(&self, line: &str) {
        self.wait_matching(line, |seen| is_line(seen, line).then_some(()));
    }

    /// Waits for a line of a worker, which may come before or after the supervisor's own.
    #[track_caller]
    pub fn wait_output(&self, line: &str) {
        self.eventually(&format!("a worker writes {line:?}"), || {
            self.lines().iter().any(|it| it == line)
        });
    }

    /// Waits for a line with this beginning after the one waited for last; returns the rest of the line.
    #[track_caller]
    pub fn wait_line_starting(&self, start: &str) -> String {
        self.wait_matching(start, |seen| seen.strip_prefix(start).map(str::to_owned))
    }

    /// Waits for `starting new worker P` after the line waited for last.
    #[track_caller]
    pub fn wait_new_worker(&self) -> Process {
        self.wait_matching("starting new worker ", new_worker)
    }

    /// Waits for a line with this beginning and a list of pids after it; returns them sorted.
    #[track_caller]
    pub fn wait_pids(&self, start: &str) -> Vec<Process> {
        let list = self.wait_line_starting(start);
        let list = list.split(' ').next().unwrap_or_default();
        let mut pids: Vec<Process> = list
            .split(',')
            .filter_map(|pid| pid.parse().ok().map(Process))
            .collect();
        assert_eq!(
            pids.len(),
            list.split(',').count(),
            "not a list of pids: {list:?}"
        );
        pids.sort();
        pids
    }

    #[track_caller]
    fn wait_matching<T>(&self, line: &str, matches: impl Fn(&str) -> Option<T>) -> T {
        let found = wait_for(|| {
            let ended = self.exited().is_some();
            let lines = self.lines();
            let found = lines
                .iter()
                .enumerate()
                .skip(self.next_line.load(Ordering::Relaxed))
                .find_map(|(at, line)| Some((at, matches(line)?)));
            match found {
                Some((at, found)) => {
                    self.next_line.store(at + 1, Ordering::Relaxed);
                    Some(Some(found))
                }
                None => ended.then_some(None),
            }
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => panic!("the supervisor ended without this line: {line}"),
            None => panic!("not within {BOUND:?}: the line {line}"),
        }
    }

    /// The number of lines with this beginning so far.
    pub fn count(&self, start: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// All workers that were started so far, according to the log.
    pub fn started(&self) -> Vec<Process> {
        self.lines()
            .iter()
            .filter_map(|line| new_worker(line))
            .collect()
    }
}

/// Whether `seen` is `line`, with or without more words after it.
fn is_line(seen: &str, line: &str) -> bool {
    seen.strip_prefix(line)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn new_worker(line: &str) -> Option<Process> {
    let rest = line.strip_prefix("starting new worker ")?;
    rest.split(' ').next()?.parse().ok().map(Process)
}
