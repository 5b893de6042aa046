//! What those who ask for a reload are told, and by what it is decided.

use super::*;
use crate::machine::requests::Requests;

const ID: RequestId = 7;

fn ask(bench: &mut Fixture, id: RequestId, until: Until) {
    bench.event(Event::ReloadRequested(Request { id, until }));
}

fn answers(bench: &Fixture) -> Vec<(RequestId, Answer)> {
    let answers = bench.done.iter().filter_map(|action| match action {
        Action::Answer(request, answer) => Some((request.id, *answer)),
        _ => None,
    });
    answers.collect()
}

fn limited() -> Rules {
    Rules {
        start_attempts: 2,
        ..rules()
    }
}

#[test]
fn ready_when_the_new_one_has_taken_over_and_drained_when_the_old_one_has_gone() {
    let mut bench = Fixture::serving(rules());
    ask(&mut bench, 1, Until::Ready);
    ask(&mut bench, 2, Until::Drained);
    assert_eq!(bench.spawned(), [2], "the second waits for another start");
    bench.pass(secs(1));
    assert_eq!(answers(&bench), [(1, Answer::Replaced(2))]);
    bench.pass(secs(1));
    assert_eq!(answers(&bench)[1..], [(2, Answer::Replaced(3))]);
    bench.exit(101, 0);
    assert_eq!(answers(&bench).len(), 2, "102 is still there");
    bench.exit(102, 0);
    assert_eq!(answers(&bench)[2..], [(2, Answer::Drained(3))]);
}

#[test]
fn a_request_is_not_answered_by_a_start_that_had_begun_before_it() {
    let mut bench = Fixture::serving(limited());
    bench.hup().pass(Duration::from_millis(500));
    ask(&mut bench, ID, Until::Ready);
    bench.exit(102, 256).pass(secs(1)).exit(103, 256);
    assert_eq!(bench.spawned(), [2, 3]);
    assert_eq!(answers(&bench), [(ID, Answer::Failed { kept: Some(1) })]);

    let mut bench = Fixture::serving(limited());
    bench.hup().pass(Duration::from_millis(500));
    ask(&mut bench, ID, Until::Ready);
    bench.pass(Duration::from_millis(500));
    assert_eq!(answers(&bench), [], "generation 2 is not its own");
    bench.exit(103, 256).pass(secs(1)).exit(104, 256);
    assert_eq!(answers(&bench), [(ID, Answer::Failed { kept: Some(2) })]);
}

#[test]
fn with_a_delay_the_answer_waits_for_the_swap() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut bench = Fixture::serving(Rules {
        live_settings,
        ..limited()
    });
    ask(&mut bench, ID, Until::Ready);
    bench.pass(secs(3)).exit(102, 256);
    assert_eq!(answers(&bench), [], "it was ready, and died in the delay");
    bench.exit(103, 256).pass(secs(1)).exit(104, 256);
    assert_eq!(answers(&bench), [(ID, Answer::Failed { kept: Some(1) })]);
}

#[test]
fn a_stop_answers_everybody() {
    let mut bench = Fixture::serving(rules());
    ask(&mut bench, 1, Until::Drained);
    bench.event(Event::Stop(Signal::TERM));
    ask(&mut bench, 2, Until::Drained);
    let stopped = [(1, Answer::Stopped), (2, Answer::Stopped)];
    assert_eq!(answers(&bench), stopped);
    bench.exit(101, 0).exit(102, 0);
    ask(&mut bench, 3, Until::Drained);
    assert_eq!(answers(&bench)[2..], [(3, Answer::Stopped)]);
}

#[test]
fn a_first_start_that_is_given_up_has_failed_for_who_asked() {
    let mut bench = Fixture::new(Rules {
        first_start_attempts: 1,
        ..rules()
    });
    bench.tick();
    ask(&mut bench, ID, Until::Ready);
    bench.exit(101, 256);
    // It had begun before it was asked, but no other will follow.
    assert_eq!(answers(&bench), [(ID, Answer::Stopped)]);
}

#[test]
fn a_death_of_an_old_worker_that_never_served_is_not_waited_for() {
    let mut bench = Fixture::serving(Rules {
        readiness: Readiness::Notify,
        ..rules()
    });
    bench.says(1, Notification::Ready).done.clear();
    ask(&mut bench, ID, Until::Drained);
    bench
        .pass(secs(60))
        .says(3, Notification::Ready)
        .exit(101, 0);
    assert!(bench.machine.state.workers.iter().any(|w| w.pid == 102));
    let all = [(ID, Answer::Replaced(3)), (ID, Answer::Drained(3))];
    assert_eq!(answers(&bench), all);
}

fn checked() -> Rules {
    Rules {
        check: Some(secs(30)),
        ..limited()
    }
}

/// Attempts may go on for ever: whoever has given up waiting for them must not be remembered as long.
#[test]
fn who_has_gone_is_forgotten_and_the_reload_goes_on() {
    let mut bench = Fixture::serving(rules());
    for id in 1..=3 {
        ask(&mut bench, id, Until::Drained);
        bench.event(Event::RequesterGone(id));
    }
    assert_eq!(bench.machine.state.requests, Requests::default());
    bench.exit(102, 256).pass(secs(1)).pass(secs(1));
    assert_eq!(bench.spawned()[..2], [2, 3]);
    assert_eq!(answers(&bench), []);
}

#[test]
fn a_failed_check_burns_no_generation() {
    let mut bench = Fixture::serving(checked());
    ask(&mut bench, ID, Until::Ready);
    assert_eq!(bench.done.last(), Some(&Action::Check(2)));
    bench.event(Event::CheckFailed);
    assert_eq!(bench.spawned(), [0_u64; 0]);
    assert_eq!(answers(&bench), [(ID, Answer::Failed { kept: Some(1) })]);
    bench.hup().event(Event::CheckPassed).pass(secs(1));
    assert_eq!((bench.spawned(), bench.live().len()), (vec![2], 2));
}

#[test]
fn who_asks_during_a_check_that_fails_gets_a_check_of_their_own() {
    let mut bench = Fixture::serving(checked());
    bench.hup();
    ask(&mut bench, ID, Until::Ready);
    bench.event(Event::CheckFailed);
    assert_eq!(answers(&bench), []);
    bench.event(Event::CheckPassed).pass(secs(1));
    assert_eq!(answers(&bench), [(ID, Answer::Replaced(2))]);
}

#[test]
fn a_check_has_its_time_and_what_it_finds_afterwards_is_ignored() {
    let mut bench = Fixture::serving(checked());
    bench.hup().pass(secs(30));
    assert!(bench.done.contains(&Action::EndCheck));
    let timed_out =
        |r: &Report| matches!(r, Report::CheckFailed { timed_out: Some(t), .. } if *t == secs(30));
    assert!(bench.reported(timed_out));
    bench.event(Event::CheckPassed);
    assert_eq!(bench.spawned(), [0_u64; 0]);
}

#[test]
fn nobody_is_careful_when_nobody_serves() {
    let mut bench = Fixture::serving(checked());
    ask(&mut bench, ID, Until::Ready);
    bench.exit(101, 256);
    assert!(bench.done.contains(&Action::EndCheck));
    assert_eq!(bench.spawned(), [2]);
    bench.pass(secs(1));
    assert_eq!(answers(&bench), [(ID, Answer::Replaced(2))]);
}

#[test]
fn a_stop_ends_the_check() {
    let mut bench = Fixture::serving(checked());
    bench.hup().event(Event::Stop(Signal::TERM));
    assert!(bench.done.contains(&Action::EndCheck));
    bench.event(Event::CheckPassed);
    assert_eq!(bench.spawned(), [0_u64; 0]);
}
