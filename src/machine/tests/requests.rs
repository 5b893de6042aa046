//! Answers to requests for a reload, and the check before a reload.

use super::*;
use crate::machine::requests::Requests;

const ID: RequestId = 7;

fn request(fixture: &mut Fixture, id: RequestId, until: Until) {
    fixture.event(Event::ReloadRequested(Request { id, until }));
}

fn answers(fixture: &Fixture) -> Vec<(RequestId, Answer)> {
    let answers = fixture.done.iter().filter_map(|action| match action {
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
fn request_is_answered_at_the_takeover_and_when_the_old_workers_are_dead() {
    let mut fixture = Fixture::serving(rules());
    request(&mut fixture, 1, Until::Ready);
    request(&mut fixture, 2, Until::Drained);
    assert_eq!(
        fixture.spawned(),
        [2],
        "the second request waits for another start"
    );
    fixture.pass(secs(1));
    assert_eq!(answers(&fixture), [(1, Answer::Replaced(2))]);
    fixture.pass(secs(1));
    assert_eq!(answers(&fixture)[1..], [(2, Answer::Replaced(3))]);
    fixture.exit(101, 0);
    assert_eq!(answers(&fixture).len(), 2, "102 is still there");
    fixture.exit(102, 0);
    assert_eq!(answers(&fixture)[2..], [(2, Answer::Drained(3))]);
}

#[test]
fn request_is_not_answered_by_a_start_that_began_before_it() {
    let mut fixture = Fixture::serving(limited());
    fixture.hup().pass(Duration::from_millis(500));
    request(&mut fixture, ID, Until::Ready);
    fixture.exit(102, 256).pass(secs(1)).exit(103, 256);
    assert_eq!(fixture.spawned(), [2, 3]);
    assert_eq!(answers(&fixture), [(ID, Answer::Failed { kept: Some(1) })]);

    let mut fixture = Fixture::serving(limited());
    fixture.hup().pass(Duration::from_millis(500));
    request(&mut fixture, ID, Until::Ready);
    fixture.pass(Duration::from_millis(500));
    assert_eq!(
        answers(&fixture),
        [],
        "generation 2 was started before the request"
    );
    fixture.exit(103, 256).pass(secs(1)).exit(104, 256);
    assert_eq!(answers(&fixture), [(ID, Answer::Failed { kept: Some(2) })]);
}

#[test]
fn answer_waits_for_the_end_of_the_kill_old_delay() {
    let live_settings = LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(5),
    };
    let mut fixture = Fixture::serving(Rules {
        live_settings,
        ..limited()
    });
    request(&mut fixture, ID, Until::Ready);
    fixture.pass(secs(3)).exit(102, 256);
    assert_eq!(
        answers(&fixture),
        [],
        "generation 2 was ready, and died in the delay"
    );
    fixture.exit(103, 256).pass(secs(1)).exit(104, 256);
    assert_eq!(answers(&fixture), [(ID, Answer::Failed { kept: Some(1) })]);
}

#[test]
fn stop_answers_all_requests() {
    let mut fixture = Fixture::serving(rules());
    request(&mut fixture, 1, Until::Drained);
    fixture.event(Event::Stop(Signal::TERM));
    request(&mut fixture, 2, Until::Drained);
    let stopped = [(1, Answer::Stopped), (2, Answer::Stopped)];
    assert_eq!(answers(&fixture), stopped);
    fixture.exit(101, 0).exit(102, 0);
    request(&mut fixture, 3, Until::Drained);
    assert_eq!(answers(&fixture)[2..], [(3, Answer::Stopped)]);
}

#[test]
fn request_during_the_first_start_is_answered_when_that_is_given_up() {
    let mut fixture = Fixture::new(Rules {
        first_start_attempts: 1,
        ..rules()
    });
    fixture.tick();
    request(&mut fixture, ID, Until::Ready);
    fixture.exit(101, 256);
    // That start began before the request, but no other one follows.
    assert_eq!(answers(&fixture), [(ID, Answer::Stopped)]);
}

#[test]
fn drained_answer_does_not_wait_for_a_given_up_worker() {
    let mut fixture = Fixture::serving(Rules {
        readiness: Readiness::Notify,
        ..rules()
    });
    fixture.notify(1, Notification::Ready).done.clear();
    request(&mut fixture, ID, Until::Drained);
    fixture
        .pass(secs(60))
        .notify(3, Notification::Ready)
        .exit(101, 0);
    assert!(fixture.machine.state.workers.iter().any(|w| w.pid == 102));
    let all = [(ID, Answer::Replaced(3)), (ID, Answer::Drained(3))];
    assert_eq!(answers(&fixture), all);
}

fn checked() -> Rules {
    Rules {
        check: Some(secs(30)),
        ..limited()
    }
}

/// Attempts may go on for ever. A client that no longer waits for them must not take up memory.
#[test]
fn disconnected_client_is_forgotten_and_the_reload_goes_on() {
    let mut fixture = Fixture::serving(rules());
    for id in 1..=3 {
        request(&mut fixture, id, Until::Drained);
        fixture.event(Event::RequesterGone(id));
    }
    assert_eq!(fixture.machine.state.requests, Requests::default());
    fixture.exit(102, 256).pass(secs(1)).pass(secs(1));
    assert_eq!(fixture.spawned()[..2], [2, 3]);
    assert_eq!(answers(&fixture), []);
}

#[test]
fn failed_check_uses_up_no_generation() {
    let mut fixture = Fixture::serving(checked());
    request(&mut fixture, ID, Until::Ready);
    assert_eq!(fixture.done.last(), Some(&Action::Check(2)));
    fixture.event(Event::CheckFailed);
    assert_eq!(fixture.spawned(), [0_u64; 0]);
    assert_eq!(answers(&fixture), [(ID, Answer::Failed { kept: Some(1) })]);
    fixture.hup().event(Event::CheckPassed).pass(secs(1));
    assert_eq!((fixture.spawned(), fixture.live().len()), (vec![2], 2));
}

#[test]
fn request_during_a_check_that_fails_gets_a_check_of_its_own() {
    let mut fixture = Fixture::serving(checked());
    fixture.hup();
    request(&mut fixture, ID, Until::Ready);
    fixture.event(Event::CheckFailed);
    assert_eq!(answers(&fixture), []);
    fixture.event(Event::CheckPassed).pass(secs(1));
    assert_eq!(answers(&fixture), [(ID, Answer::Replaced(2))]);
}

#[test]
fn check_times_out_and_its_late_result_is_ignored() {
    let mut fixture = Fixture::serving(checked());
    fixture.hup().pass(secs(30));
    assert!(fixture.done.contains(&Action::EndCheck));
    let timed_out =
        |r: &Report| matches!(r, Report::CheckFailed { timed_out: Some(t), .. } if *t == secs(30));
    assert!(fixture.reported(timed_out));
    fixture.event(Event::CheckPassed);
    assert_eq!(fixture.spawned(), [0_u64; 0]);
}

#[test]
fn check_is_ended_and_a_worker_started_when_the_current_one_dies() {
    let mut fixture = Fixture::serving(checked());
    request(&mut fixture, ID, Until::Ready);
    fixture.exit(101, 256);
    assert!(fixture.done.contains(&Action::EndCheck));
    assert_eq!(fixture.spawned(), [2]);
    fixture.pass(secs(1));
    assert_eq!(answers(&fixture), [(ID, Answer::Replaced(2))]);
}

#[test]
fn stop_ends_the_check() {
    let mut fixture = Fixture::serving(checked());
    fixture.hup().event(Event::Stop(Signal::TERM));
    assert!(fixture.done.contains(&Action::EndCheck));
    fixture.event(Event::CheckPassed);
    assert_eq!(fixture.spawned(), [0_u64; 0]);
}
