//! Runs all cases, several at a time.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use server_starter_testing::say;

use crate::case::{Case, bursts, quick};
use crate::scenario_run::{Baseline, ScenarioRun};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::table::{self, Result};
use crate::verdict::{self, Outcome};

pub(crate) fn all(filters: &[String], thorough: bool) -> ExitCode {
    let start = Instant::now();
    let mut baselines = Vec::new();
    let is_root = nix::unistd::geteuid().is_root();
    for scenario in SCENARIOS.iter().filter(|it| is_root || !it.as_root) {
        match baseline(scenario) {
            Ok(baseline) => baselines.push(baseline),
            Err(why) => {
                say(&format!("{}: fails undisturbed: {why}", scenario.name));
                return ExitCode::FAILURE;
            }
        }
    }
    let all: Vec<Case> = baselines
        .iter()
        .enumerate()
        .flat_map(|(number, baseline)| Case::all(number, baseline))
        .collect();
    let bursts = bursts(&all);
    let there_are = all.len() + bursts.len();
    let wanted = |case: &Case| filters.is_empty() || filters.iter().any(|f| case.id().contains(f));
    let all = match thorough {
        true => all.into_iter().chain(bursts).collect(),
        false => quick(&all),
    };
    let cases: VecDeque<Case> = all.into_iter().filter(wanted).collect();
    if cases.is_empty() {
        say("faults: no case has this in its name; START_SERVER_FAULTS=all has more cases");
        return ExitCode::FAILURE;
    }
    let trying = cases.len();
    say(&format!("faults: {trying} of {there_are} cases"));

    let (queue, results) = (Mutex::new(cases), Mutex::new(Vec::new()));
    let workers = std::env::var("START_SERVER_FAULTS_JOBS").ok();
    let workers = workers.and_then(|n| n.parse().ok());
    let workers = workers.unwrap_or(thread::available_parallelism().map_or(2, usize::from));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop_front() else {
                        return;
                    };
                    let result = run(case, &baselines);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    let mut results: Vec<Result> = results.into_inner().unwrap();
    results.sort_by_key(|r| {
        let at = |call: &&crate::trace::Call| {
            call.name == r.case.fault.name && call.nth == r.case.fault.nth
        };
        let calls = baselines.get(r.case.scenario).map(|it| &it.trace.calls);
        let place = calls.and_then(|calls| calls.iter().position(|call| at(&call)));
        (r.case.scenario, place, r.case.fault.times)
    });
    if let Some(path) = std::env::var_os("START_SERVER_FAULTS_TABLE") {
        if let Err(e) = std::fs::write(&path, table::write(&results)) {
            say(&format!("{path:?}: {e}"));
            return ExitCode::FAILURE;
        }
    }
    let broken = results.iter().filter(|r| r.outcome.is_err()).count();
    let reached = |r: &&Result| r.outcome == Ok(Outcome::NotReached);
    let missed = results.iter().filter(reached).count();
    let took = start.elapsed().as_secs();
    say(&format!(
        "faults: {trying} tried, {broken} broken, {missed} not reached, in {took} s"
    ));
    match broken {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn baseline(scenario: &'static Scenario) -> std::result::Result<Baseline, String> {
    let mut run = ScenarioRun::begin(scenario, None, None);
    let played = run.play();
    played.map_err(|why| format!("{why}\n    {}", run.server.last_lines()))?;
    let left = run.server.left(scenario, false);
    if !left.is_empty() {
        return Err(format!("left {}", left.join(", ")));
    }
    run.into_baseline()
}

fn run(case: Case, baselines: &[Baseline]) -> Result {
    let (scenario, baseline) = (&SCENARIOS[case.scenario], &baselines[case.scenario]);
    let begun = Instant::now();
    let mut run = ScenarioRun::begin(scenario, Some(&case.fault), Some(baseline));
    let (call, outcome) = verdict::of(&case, baseline, &mut run);
    let took = begun.elapsed().as_secs_f32();
    if let Err(why) = &outcome {
        let call = call.as_ref().map_or(case.shape.as_str(), |call| &call.text);
        say(&format!(
            "BROKEN {}: {why}\n    the call: {call}",
            case.id()
        ));
    } else if std::env::var_os("START_SERVER_FAULTS_VERBOSE").is_some() {
        say(&format!("{:6.2} s {}: {outcome:?}", took, case.id()));
    }
    let shape = call.map(|call| call.shape(run.server.dir().text()));
    Result {
        shape: shape.unwrap_or_else(|| case.shape.clone()),
        case,
        outcome,
    }
}
