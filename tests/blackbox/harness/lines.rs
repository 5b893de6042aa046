//! The lines of a supervisor: waiting for them one after the other proves their order.

use super::{BOUND, Process, Supervisor, look_for};

impl Supervisor {
    /// Everything it and its workers said so far.
    pub(crate) fn log(&self) -> String {
        self.read(self.setup.log)
    }

    /// The lines that are complete.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.log();
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        complete.lines().map(str::to_owned).collect()
    }

    /// Waits for this line, after the one waited for last. More words may follow on it.
    #[track_caller]
    pub(crate) fn wait_line(&self, line: &str) {
        self.wait_for(line, |seen| is_line(seen, line).then_some(()));
    }

    /// Waits for a line of a worker's, which may come before or after the supervisor's own.
    #[track_caller]
    pub(crate) fn wait_said(&self, line: &str) {
        self.eventually(&format!("a worker says {line:?}"), || {
            self.lines().iter().any(|said| said == line)
        });
    }

    /// Waits for a line that starts so, after the one waited for last; returns what follows.
    #[track_caller]
    pub(crate) fn wait_line_starting(&self, start: &str) -> String {
        self.wait_for(start, |seen| seen.strip_prefix(start).map(str::to_owned))
    }

    /// Waits for `starting new worker P`, after the line waited for last.
    #[track_caller]
    pub(crate) fn wait_new_worker(&self) -> Process {
        self.wait_for("starting new worker ", new_worker)
    }

    /// Waits for a line that starts so and ends in a list of pids, in any order.
    #[track_caller]
    pub(crate) fn wait_pids(&self, start: &str) -> Vec<Process> {
        let list = self.wait_line_starting(start);
        let list = list.split(' ').next().unwrap_or_default();
        let mut pids: Vec<Process> = list
            .split(',')
            .filter_map(|pid| pid.parse().ok().map(Process))
            .collect();
        assert_eq!(
            pids.len(),
            list.split(',').count(),
            "no list of pids: {list:?}"
        );
        pids.sort();
        pids
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, matches: impl Fn(&str) -> Option<T>) -> T {
        let found = look_for(|| {
            let over = self.exited().is_some();
            let lines = self.lines();
            let found = lines
                .iter()
                .enumerate()
                .skip(self.cursor.get())
                .find_map(|(at, line)| Some((at, matches(line)?)));
            match found {
                Some((at, found)) => {
                    self.cursor.set(at + 1);
                    Some(Some(found))
                }
                None => over.then_some(None),
            }
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => panic!("it ended, and this line did not come: {what}"),
            None => panic!("not within {BOUND:?}, this line: {what}"),
        }
    }

    /// How many lines so far start so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// Every worker that was started so far, as told by the lines.
    pub(crate) fn started(&self) -> Vec<Process> {
        self.lines()
            .iter()
            .filter_map(|line| new_worker(line))
            .collect()
    }
}

/// Whether `seen` is `line`, perhaps with more words after it.
fn is_line(seen: &str, line: &str) -> bool {
    seen.strip_prefix(line)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn new_worker(line: &str) -> Option<Process> {
    let rest = line.strip_prefix("starting new worker ")?;
    rest.split(' ').next()?.parse().ok().map(Process)
}
