//! The result as Markdown: a row for each call and outcome, with the steps and the errors that have it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::calls::words;
use crate::case::Case;
use crate::scenarios::SCENARIOS;
use crate::verdict::Outcome;

/// Calls and outcomes, each with the steps and the errors.
type Rows = Vec<([String; 2], [Vec<&'static str>; 2])>;

const SERVED: &str = "served";

/// A case, the call that failed, and how it went.
pub(crate) struct Result {
    pub(crate) case: Case,
    pub(crate) shape: String,
    pub(crate) outcome: std::result::Result<Outcome, String>,
}

pub(crate) fn write(results: &[Result]) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n## In short\n\n");
    summary(results, &mut text);
    for (number, life) in SCENARIOS.iter().enumerate() {
        let steps: Vec<&str> = life.steps.iter().map(|step| step.name()).collect();
        let about = life.about.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(
            text,
            "\n## {}\n\n{about}.\nSteps: {}.\n\n| step | call | error | outcome |\n|---|---|---|---|\n",
            life.name,
            steps.join(", ")
        );
        let mut silent = Rows::new();
        let mut rows = Rows::new();
        for result in results.iter().filter(|result| result.case.life == number) {
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
        let _ = writeln!(text, "\nServed, and not a word of it:\n");
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
        Ok(Outcome::NotReached) => "not reached in that run".to_owned(),
        Ok(Outcome::Served { said, again, left }) => {
            let mut text = SERVED.to_owned();
            if !again.is_empty() {
                let _ = write!(text, "; {}", again.join(", "));
            }
            if !left.is_empty() {
                let _ = write!(text, "; left {}", left.join(", "));
            }
            if !said.is_empty() {
                let _ = write!(text, "; said: {}", said.join(" / "));
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
        "| call | served | served, asked again | refused to start | ended | not reached | **broken** |\n",
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

What the supervisor does when a system call fails: each that it makes, in lives that go from start to
stop, with each error that it may plausibly give. Written by `START_SERVER_FAULTS=all
START_SERVER_FAULTS_TABLE=docs/faults.md cargo test --test faults`, which fails if a rule is broken:

- It **served** throughout and stopped with status 0 when told to; every connection was answered. What
  was being asked of it at that moment may have had to be asked **again**.
- Or it **refused** to start, with status 1 (2 if what an option names could not be looked up) and a
  message with the reason (`…` is the error in strerror's words).
- Or, in an upgrade and after its exec, when there is no way back, the next program could not take over:
  it **ended** with status 1 and such a message. The service manager starts it anew.
- Nothing of its own was left but what the fault kept from being removed, and nothing of others' was
  touched.
- No panic, no hang, no spinning, no descriptor more than usual.

Calls before `main`, and after it, are the C library's and Rust's, and are not tried; nor are those that
cannot fail (`getpid`…) and those that map memory. strace does not make the call that is to fail: a
`close` that fails leaves the descriptor open, which Linux never does, so what waits for the end of a
pipe waits for its time-out. Between two lives calls may differ a little in number; *not reached* are
those that were one fewer.
";
