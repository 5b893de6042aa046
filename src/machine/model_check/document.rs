//! `docs/state-machine.md`, made of all transitions that the walks have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use super::observed::{EventName, STOP, Transition};
use super::rule_sets::ALL;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/state-machine.md");

const HEAD: &str = "\
# The state machine

One state machine decides when a generation is started and which workers are signalled: `src/machine/`.
This is its transition table, as the model check has seen it: every state that a bounded number of events
can reach, under a dozen sets of rules (`src/machine/model_check/`).

This file is generated. `UPDATE_DOCS=1 cargo test --lib state_machine_document` writes it after a change
of the machine; without the variable, the same test fails if the file is out of date.

";

const LEGEND: &str = "\
## How to read the tables

Each phase has a section, and each event a row; events that do the same share one. If several phases may
follow, each of them has a line.

- **actions** are in the order in which they are carried out. Those in parentheses are not carried out in
  every case.
- A `Name` among the actions is a report: a log entry, of which systemd and the clients may be told, too.
- The **new worker** is starting. The **current worker** is the newest that is ready: the one that
  serves. An **old worker** is draining, or ready and about to be told to leave. A **given-up worker**
  was not ready in time, and has been told to leave.
- **signal** tells a worker to leave. **answer** goes to a client that has requested a reload.
- A **tick** tells the machine that time has passed. *time to start*, *interval over*, *start timed out* and
  the like are ticks at which the time of the phase is up. At every tick, workers that have not left in
  time get SIGKILL, and workers that have not pinged in time get SIGABRT.
- An event without an action may still count: the request of a disconnected client is dropped, and
  `WATCHDOG=1` postpones SIGABRT.
- Deaths of other processes, and notifications of dead workers, are ignored in every phase.

";

/// The phases, in the order of a start, and what is under way in each.
const PHASES: [(&str, &str); 8] = [
    (
        "WaitingToStart",
        "A start, before its first attempt or between two attempts. This is where the machine begins.",
    ),
    (
        "Spawning",
        "A start: the process has been asked for. The caller gives the answer before any other event.",
    ),
    (
        "Starting",
        "A start: the new worker has to live, or to say that it is ready, in time.",
    ),
    (
        "KillOldDelay",
        "The new worker is ready. The old ones may live for the kill-old-delay.",
    ),
    (
        "Serving",
        "Nothing is under way: the current worker serves.",
    ),
    (
        "Checking",
        "A reload, before its first attempt: the check runs.",
    ),
    (
        "Stopping",
        "All workers have been told to leave. The supervisor waits for their deaths.",
    ),
    (
        "Ended",
        "No worker is left and none will be started. The caller exits.",
    ),
];

/// The ticks at which the time of a phase is up. Each belongs to one phase.
const TIMES: [&str; 6] = [
    "time to start",
    "interval over",
    "start timed out",
    "kill-old-delay over",
    "auto-restart interval over",
    "check timed out",
];

/// The events in the order of the rows.
const EVENTS: [&str; 24] = [
    "HUP",
    "reload request",
    "listening socket replaced",
    "client disconnected",
    "check passed",
    "check failed",
    "spawned",
    "spawn failed",
    "spawn failed for good",
    "`READY=1`",
    "`EXTEND_TIMEOUT_USEC=`",
    "`WATCHDOG=1`",
    "`WATCHDOG=trigger`",
    "death",
    "time to start",
    "interval over",
    "start timed out",
    "kill-old-delay over",
    "auto-restart interval over",
    "check timed out",
    "tick",
    "resumed after an absence",
    "settings changed",
    STOP,
];

#[test]
fn state_machine_document_shows_what_the_walks_have_seen() {
    let seen = ALL.iter().flat_map(|set| set.walk().transitions());
    let document = document(&seen.collect());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PATH, &document).unwrap();
    }
    let committed = fs::read_to_string(PATH).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(document.lines())
        .find(|(old, new)| old != new);
    assert!(
        committed == document,
        "docs/state-machine.md differs from what the machine does, for example {differs:?}; \
         rewrite it: UPDATE_DOCS=1 cargo test --lib state_machine_document"
    );
}

fn document(seen: &BTreeSet<&Transition>) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(&picture());
    out.push_str(&diagram(seen));
    out.push_str(LEGEND);
    for (phase, meaning) in PHASES {
        let seen = seen.iter().copied().filter(|t| t.phase == phase);
        section(&mut out, phase, meaning, &seen.collect::<Vec<_>>());
    }
    let shown = PHASES.map(|(phase, _)| phase);
    let unknown = seen.iter().find(|t| !shown.contains(&t.phase));
    assert_eq!(unknown, None, "a phase without a section");
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The picture in the introduction of the machine.
fn picture() -> String {
    let source = include_str!("../mod.rs").lines();
    let from = source.skip_while(|line| *line != "//! ```text");
    let lines = from.map(|line| line.strip_prefix("//!").unwrap_or(line));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut picture: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    picture.push("```\n\n");
    picture.join("\n")
}

/// All changes of phase as a diagram, which GitHub draws.
fn diagram(seen: &BTreeSet<&Transition>) -> String {
    let mut edges: BTreeMap<(usize, usize), BTreeSet<(usize, EventName)>> = BTreeMap::new();
    for t in seen.iter().filter(|t| t.phase != t.next) {
        if t.event.what == STOP {
            continue; // one arrow for all
        }
        let edge = edges.entry((phase_index(t.phase), phase_index(t.next)));
        let event = (event_index(t.event.what), t.event);
        edge.or_default().insert(event);
    }
    let mut lines = String::new();
    for ((from, to), events) in edges {
        let (from, to) = (PHASES[from].0, PHASES[to].0);
        let events = events.into_iter().map(|(_, event)| in_words(&[event]));
        let events = events.collect::<Vec<_>>().join(", ").replace('`', "");
        writeln!(lines, "    {from} --> {to}: {events}").unwrap();
    }
    format!(
        "The same as a diagram, with every change of phase:\n\n```mermaid\nstateDiagram-v2\n    \
         state \"every phase\" as every\n    [*] --> WaitingToStart\n{lines}    \
         every --> Stopping: {STOP}\n    every --> Ended: {STOP}, if no worker is alive\n    \
         Ended --> [*]\n```\n\n"
    )
}

/// What follows an event: for each next phase, the actions, and whether they are always carried out.
type Outcomes = Vec<(&'static str, Vec<(&'static str, bool)>)>;

/// Events that do the same.
struct Row {
    events: Vec<EventName>,
    outcomes: Outcomes,
}

fn section(out: &mut String, phase: &'static str, meaning: &str, seen: &[&Transition]) {
    let mut events: Vec<EventName> = seen.iter().map(|t| t.event).collect();
    events.sort_by_key(|event| (event_index(event.what), *event));
    events.dedup();
    let mut rows: Vec<Row> = Vec::new();
    let mut without_effect: Vec<EventName> = Vec::new();
    for event in &events {
        let outcomes = outcomes(phase, seen.iter().filter(|t| t.event == *event));
        let same = rows.iter_mut().find(|row| row.outcomes == outcomes);
        if outcomes == [(phase, vec![])] {
            without_effect.push(*event);
        } else if let Some(row) = same {
            row.events.push(*event);
        } else {
            let events = vec![*event];
            rows.push(Row { events, outcomes });
        }
    }
    writeln!(out, "## {phase}\n\n{meaning}\n").unwrap();
    table(out, phase, &rows);
    let acts = |what| {
        rows.iter()
            .flat_map(|row| &row.events)
            .any(|e| e.what == what)
    };
    let words = without_effect.iter().map(|event| match event.whose {
        Some(_) if acts(event.what) => format!("{} of any other worker", event.what),
        Some(_) | None => event.what.to_owned(),
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    if !words.is_empty() {
        writeln!(
            out,
            "No action, and the phase stays: {}.\n",
            words.join(", ")
        )
        .unwrap();
    }
    let happens = |what: &str| events.iter().any(|event| event.what == what);
    let never = |what: &&str| !happens(what) && !TIMES.contains(what);
    let never: Vec<&str> = EVENTS.into_iter().filter(never).collect();
    match never.len() {
        0 => {}
        few if few < events.len() => {
            writeln!(out, "Does not happen: {}.\n", never.join(", ")).unwrap();
        }
        _ => out.push_str("Does not happen: any other event.\n\n"),
    }
}

/// The outcomes of an event, with the one that does not change the phase first.
fn outcomes<'a>(phase: &str, seen: impl Iterator<Item = &'a &'a Transition>) -> Outcomes {
    let mut sequences: BTreeMap<usize, Vec<&[&'static str]>> = BTreeMap::new();
    for t in seen {
        let next = sequences.entry(phase_index(t.next));
        next.or_default().push(&t.actions);
    }
    let outcomes = sequences
        .iter()
        .map(|(next, sequences)| (PHASES[*next].0, merged(sequences)));
    let mut outcomes: Outcomes = outcomes.collect();
    outcomes.sort_by_key(|(next, _)| *next != phase);
    outcomes
}

fn table(out: &mut String, phase: &str, rows: &[Row]) {
    out.push_str("| event | next phase | actions |\n|---|---|---|\n");
    for Row { events, outcomes } in rows {
        let mut event = in_words(events);
        for (next, actions) in outcomes {
            let next = match *next == phase {
                true => "unchanged".to_owned(),
                false => format!("**{next}**"),
            };
            let actions = actions.iter().map(|(action, always)| match always {
                true => (*action).to_owned(),
                false => format!("({action})"),
            });
            let actions: Vec<String> = actions.collect();
            writeln!(out, "| {event} | {next} | {} |", actions.join(", ")).unwrap();
            event.clear();
        }
    }
    out.push('\n');
}

/// The actions of several sequences in one order, and whether each is in all of them.
fn merged(sequences: &[&[&'static str]]) -> Vec<(&'static str, bool)> {
    let mut longest_first = sequences.to_vec();
    longest_first.sort_by_key(|sequence| std::cmp::Reverse(sequence.len()));
    let mut order: Vec<&str> = Vec::new();
    for sequence in longest_first {
        let mut at = 0;
        for action in sequence {
            match order.iter().position(|known| known == action) {
                Some(known) => at = at.max(known + 1),
                None => {
                    order.insert(at, action);
                    at += 1;
                }
            }
        }
    }
    let always = |action| sequences.iter().all(|sequence| sequence.contains(&action));
    order
        .into_iter()
        .map(|action| (action, always(action)))
        .collect()
}

/// `HUP; READY=1 of the current worker, of an old worker`.
fn in_words(events: &[EventName]) -> String {
    let mut words = String::new();
    let mut last = "";
    for EventName { what, whose } in events {
        if *what != last {
            let separator = if last.is_empty() { "" } else { "; " };
            write!(words, "{separator}{what}").unwrap();
        } else {
            words.push(',');
        }
        if let Some(whose) = whose {
            write!(words, " of {whose}").unwrap();
        }
        last = what;
    }
    words
}

fn phase_index(phase: &str) -> usize {
    let at = PHASES.iter().position(|(name, _)| *name == phase);
    at.unwrap_or_else(|| panic!("{phase} is not in PHASES"))
}

fn event_index(event: &str) -> usize {
    let at = EVENTS.iter().position(|name| *name == event);
    at.unwrap_or_else(|| panic!("{event} is not in EVENTS"))
}
