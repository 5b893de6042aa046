//! What is said in the end.

use std::time::Duration;

use server_starter_testing::say;

use crate::Plan;
use crate::life::{Life, Shared};
use crate::steady_state::Rest;

/// How many lines of a list are shown.
const LINES: usize = 25;

pub(crate) fn all(plan: &Plan, shared: &Shared, life: &Life<'_>) {
    let counts: Vec<String> = life
        .counts
        .iter()
        .map(|(n, c)| format!("{n} {c}"))
        .collect();
    say(&format!("  done: {}", counts.join(", ")));
    let seen = shared.seen.lock().unwrap();
    let (answered, left) = (seen.answered, seen.left);
    say(&format!(
        "  requests: {answered} answered, {left} clients left at once; half of them within {}, \
         99 % within {}, 99.9 % within {}, the longest wait {:.3?}",
        within(&seen.times, 0.5),
        within(&seen.times, 0.99),
        within(&seen.times, 0.999),
        seen.longest
    ));
    let watched = shared.watched.lock().unwrap();
    say(&format!(
        "  looks at it from outside: {}, the control socket answered within {:.3?}",
        watched.looks, watched.longest
    ));
    let every = life.rests.len().div_ceil(LINES).max(1);
    let last = life.rests.len().saturating_sub(1);
    for (number, (at, rest)) in life.rests.iter().enumerate() {
        if number % every == 0 || number == last {
            at_rest(*at, rest);
        }
    }
    if plan.reloads.is_none() {
        say("  left out: changes of the clock, which cannot be had for one process alone");
    }
}

fn at_rest(at: Duration, rest: &Rest) {
    say(&format!(
        "  at rest after {:>7.1} s: generation {:>6}, {} descriptors, {} kB resident, {} kB of its own",
        at.as_secs_f64(),
        rest.generation,
        rest.descriptors(),
        rest.memory,
        rest.own_memory
    ));
}

/// The time within which this part of all were answered, as far as it was counted.
fn within(times: &[u64], part: f64) -> String {
    let all: u64 = times.iter().sum();
    let mut sum = 0;
    for (power, count) in times.iter().enumerate() {
        sum += count;
        if sum as f64 >= all as f64 * part {
            return format!("{} ms", 1_u64 << power);
        }
    }
    "-".to_owned()
}

/// Something has gone wrong: what was done before.
pub(crate) fn failure(plan: &Plan, failures: &[String], life: &Life<'_>) {
    const MOST: usize = 300;
    let from = life.log.len().saturating_sub(MOST);
    say(&format!("what was done, the last {MOST} things at most:"));
    for line in life.log.iter().skip(from) {
        say(&format!("    {line}"));
    }
    say(&format!(
        "what it has said:\n    {}",
        life.server.last_lines(80)
    ));
    for failure in failures.iter().take(LINES) {
        say(&format!("FAILED: {failure}"));
    }
    let again = match plan.reloads {
        Some(reloads) => format!("START_SERVER_SOAK_RELOADS={reloads}"),
        None => format!("START_SERVER_SOAK={}s", plan.time.as_secs()),
    };
    let (seed, count) = (plan.seed, failures.len());
    say(&format!(
        "soak: {count} failures; again: START_SERVER_SOAK_SEED={seed} {again} cargo test --test soak"
    ));
}
