//! The report at the end of a run.

use std::time::Duration;

use server_starter_testing::say;

use crate::Plan;
use crate::run::{Run, Shared};
use crate::steady_state::SteadyState;

/// The number of lines shown of a list.
const LINES: usize = 25;

pub(crate) fn all(plan: &Plan, shared: &Shared, run: &Run<'_>) {
    let counts: Vec<String> = run.counts.iter().map(|(n, c)| format!("{n} {c}")).collect();
    say(&format!("  actions: {}", counts.join(", ")));
    let seen = shared.seen.lock().unwrap();
    let (answered, left) = (seen.answered, seen.left);
    say(&format!(
        "  requests: {answered} answered, {left} connections closed without one; half of them within {}, \
         99 % within {}, 99.9 % within {}, the longest wait {:.3?}",
        within(&seen.times, 0.5),
        within(&seen.times, 0.99),
        within(&seen.times, 0.999),
        seen.longest
    ));
    let watched = shared.watched.lock().unwrap();
    say(&format!(
        "  checks during the run: {}, the control socket answered within {:.3?}",
        watched.checks, watched.longest
    ));
    let every = run.steady_states.len().div_ceil(LINES).max(1);
    let last = run.steady_states.len().saturating_sub(1);
    for (number, (at, state)) in run.steady_states.iter().enumerate() {
        if number % every == 0 || number == last {
            steady_state(*at, state);
        }
    }
    if plan.reloads.is_none() {
        say("  left out: changes of the clock, which are not possible for one process");
    }
}

fn steady_state(at: Duration, state: &SteadyState) {
    say(&format!(
        "  steady state after {:>7.1} s: generation {:>6}, {} descriptors, {} kB resident, {} kB of its own",
        at.as_secs_f64(),
        state.generation,
        state.descriptors(),
        state.memory,
        state.own_memory
    ));
}

/// The time within which this part of all requests was answered, as a power of two.
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

/// Reports the failures and the actions before them.
pub(crate) fn failure(plan: &Plan, failures: &[String], run: &Run<'_>) {
    const MOST: usize = 300;
    let from = run.log.len().saturating_sub(MOST);
    say(&format!("the last actions, at most {MOST}:"));
    for line in run.log.iter().skip(from) {
        say(&format!("    {line}"));
    }
    say(&format!(
        "the log of the supervisor:\n    {}",
        run.server.last_lines(80)
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
        "soak: {count} failures; to repeat: START_SERVER_SOAK_SEED={seed} {again} cargo test --test soak"
    ));
}
