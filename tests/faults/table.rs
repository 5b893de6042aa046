//! The results as Markdown: a row for each call and outcome, with its steps and errors.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::calls::words;
use crate::case::Case;
use crate::scenarios::SCENARIOS;
use crate::verdict::Outcome;

/// Calls and outcomes, each with steps and errors.
type Rows = Vec<([String; 2], [Vec<&'static str>; 2])>;

const SERVED: &str = "served";

/// A case, the call that failed, and the outcome.
pub(crate) struct Result {
    pub(crate) case: Case,
    pub(crate) shape: String,
    pub(crate) outcome: std::result::Result<Outcome, String>,
}

pub(crate) fn write(results: &[Result]) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n## Summary\n\n");
    summary(results, &mut text);
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        let steps: Vec<&str> = scenario.steps.iter().map(|step| step.name()).collect();
        let about = scenario
            .about
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let _ = write!(
            text,
            "\n## {}\n\n{about}.\nSteps: {}.\n\n| step | call | error | outcome |\n|---|---|---|---|\n",
            scenario.name,
            steps.join(", ")
        );
        let mut silent = Rows::new();
        let mut rows = Rows::new();
        for result in results
            .iter()
            .filter(|result| result.case.scenario == number)
        {
            let call = match result.case.fault.times {
                1 => result.shape.clone(),
                times => format!("{}, {times} in a row", result.case.fault.name),
            };
            let errno = result.case.fault.errno;
            let outcome = described(&result.outcome, errno);
            let all = match outcome == SERVED {
                true => &mut silent,
                false => &mut rows,
            };
            let at = all.iter().position(|(key, _)| *key == [&*call, &*outcome]);
            let at = at.unwrap_or_else(|| {
                all.push(([call, outcome], [Vec::new(), Vec::new()]));
                all.len() - 1
            });
            if let Some((_, [steps, errors])) = all.get_mut(at) {
                for (list, item) in [(steps, result.case.step.name()), (errors, errno)] {
                    if !list.contains(&item) {
                        list.push(item);
                    }
                }
            }
        }
        for ([call, outcome], [steps, errors]) in rows {
            let (call, steps, errors) =
                (call.replace('|', "\\|"), steps.join(" "), errors.join(" "));
            let _ = writeln!(text, "| {steps} | `{call}` | {errors} | {outcome} |");
        }
        let _ = writeln!(text, "\nServed, without a log line:\n");
        for ([call, _], [_, errors]) in silent {
            let _ = writeln!(text, "- `{call}` {}", errors.join(" "));
        }
    }
    text
}

fn described(outcome: &std::result::Result<Outcome, String>, errno: &str) -> String {
    let text = match outcome {
        Ok(Outcome::Ended(message)) => format!("ended: {message}"),
        Ok(Outcome::Refused(message)) => format!("refused: {message}"),
        Ok(Outcome::NotReached) => "not reached in this run".to_owned(),
        Ok(Outcome::Served { said, again, left }) => {
            let mut text = SERVED.to_owned();
            if !again.is_empty() {
                let _ = write!(text, "; {}", again.join(", "));
            }
            if !left.is_empty() {
                let _ = write!(text, "; left {}", left.join(", "));
            }
            if !said.is_empty() {
                let _ = write!(text, "; logged: {}", said.join(" / "));
            }
            text
        }
        Err(why) => format!("**{}**", why.lines().next().unwrap_or_default()),
    };
    let text = text.replace(&words(errno), "…");
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
}

fn summary(results: &[Result], text: &mut String) {
    let mut calls: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
    for result in results {
        let counts = calls.entry(&result.case.fault.name).or_default();
        let at = match &result.outcome {
            Ok(Outcome::Served { again, .. }) if again.is_empty() => 0,
            Ok(Outcome::Served { .. }) => 1,
            Ok(Outcome::Refused(_)) => 2,
            Ok(Outcome::Ended(_)) => 3,
            Ok(Outcome::NotReached) => 4,
            Err(_) => 5,
        };
        if let Some(count) = counts.get_mut(at) {
            *count += 1;
        }
    }
    text.push_str(
        "| call | served | served, repeated | refused to start | ended | not reached | **broken** |\n",
    );
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    let mut all = [0; 6];
    for (call, counts) in &calls {
        let cells: Vec<String> = counts.iter().map(usize::to_string).collect();
        let _ = writeln!(text, "| `{call}` | {} |", cells.join(" | "));
        all.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    let cells: Vec<String> = all.iter().map(usize::to_string).collect();
    let _ = writeln!(text, "| all | {} |", cells.join(" | "));
}

const HEAD: &str = "\
# Faults

What the supervisor does when a system call fails: each call that it makes, in scenarios from start to stop,
with each error that the call may return. Written by `START_SERVER_FAULTS=all
START_SERVER_FAULTS_TABLE=FILE cargo test --test faults`, which fails if a rule is broken:

- The supervisor **served** throughout, answered each connection and stopped with status 0. A request at the
  moment of the fault may have failed; it was repeated (**again**) and succeeded.
- Or it **refused** to start, with status 1 (2 if a name in an option could not be looked up) and a message
  with the reason (`…` is the error in the words of strerror).
- Or, in an upgrade and after its exec, the next program could not take over: it **ended** with status 1 and
  such a message. The service manager starts it again.
- It left no file but those that the fault kept from being removed, and changed no file of others.
- It did not panic, hang or spin, and had no more descriptors than usual.

Calls before `main` and after it are made by the C library and Rust's runtime, and are not tried. Nor are calls
that cannot fail (`getpid`…) or that map memory. strace does not make the call that fails: after a failed
`close` the descriptor stays open, which Linux never does, so a wait for the end of a pipe times out. The number
of calls differs a little from run to run; *not reached* are cases whose call was not made.
";
