use super::*;
use crate::types::Signal;
use std::time::Duration;

#[test]
fn lines_are_those_of_the_contract() {
    let secs = Duration::from_secs;
    let (generation, pid) = (7, 12);
    let cases = [
        (
            Report::Started { generation, pid },
            "starting new worker 12",
        ),
        (
            Report::FailedToStart {
                generation,
                pid,
                status: Some(256),
            },
            "new worker 12 seems to have failed to start, exit status:256 (exit code 1)",
        ),
        (
            Report::DiedUnexpectedly {
                generation,
                pid,
                status: Some(9),
                pause: secs(0),
            },
            "worker 12 died unexpectedly with status:9, restarting (killed by KILL)",
        ),
        (
            Report::OldDied {
                was_current: false,
                generation,
                pid,
                status: Some(0),
            },
            "old worker 12 died, status:0",
        ),
        (
            Report::Reloading(Trigger::Hup),
            "received HUP, spawning a new worker",
        ),
        (
            Report::AutoRestart {
                interval: secs(360),
                forced: false,
            },
            "autorestart triggered (interval=360)",
        ),
        (
            Report::AutoRestart {
                interval: secs(2),
                forced: true,
            },
            "autorestart triggered (forced, interval=2)",
        ),
        (
            Report::Replacing {
                signal: Signal::TERM,
                old: vec![9, 10],
            },
            "new worker is now running, sending TERM to old workers:9,10",
        ),
        (
            Report::Replacing {
                signal: Signal::QUIT,
                old: vec![],
            },
            "new worker is now running, sending QUIT to old workers:none",
        ),
        (
            Report::KillDelayed(secs(5)),
            "sleeping 5 secs before killing old workers",
        ),
        (Report::KillingOld, "killing old workers"),
        (
            Report::Stopping {
                again: false,
                alive: 1,
                received: Some(Signal::INT),
                signal: Signal::TERM,
                workers: vec![3],
            },
            "received INT, sending TERM to all workers:3",
        ),
        (
            Report::StoppedWorker {
                pid,
                status: Some(15),
            },
            "worker 12 died, status:15 (killed by TERM)",
        ),
        (Report::Exiting, "exiting"),
    ];
    for (report, expected) in cases {
        assert_eq!(entry(&report).unwrap().line, expected);
    }
}

#[test]
fn entry_of_a_death_has_the_fields_of_the_worker() {
    let entry = entry(&Report::OldDied {
        was_current: true,
        generation: 7,
        pid: 12,
        status: Some(256),
    })
    .unwrap();
    assert_eq!((entry.generation, entry.worker), (Some(7), Some(12)));
    assert_eq!(entry.wait_status, Some(256));
    assert_eq!(entry.message_id, Some(id::OLD_DIED));
    assert_eq!(entry.level, Level::ERROR, "it was still serving");
}
