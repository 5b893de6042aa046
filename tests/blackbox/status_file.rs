//! `--status-file`: a line `GENERATION:PID` per live worker at every moment, and nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS, STUBBORN};

use crate::fixtures::{start, supervisor};

#[test]
fn status_file_lists_the_worker_and_its_generation() {
    let s = start(&[], SLEEPS);
    let first = s.wait_new_worker();
    assert_eq!(s.read("status"), format!("1:{first}\n"));
    s.hup();
    let second = s.wait_new_worker();
    s.wait_generation(2);
    assert_eq!(s.read("status"), format!("2:{second}\n"));
    s.stop();
}

#[test]
fn status_file_lists_old_workers_while_they_live() {
    let s = start(&[], STUBBORN);
    let first = s.wait_generation(1);
    s.hup();
    let second = s.wait_generations(&[1, 2])[1];
    assert_eq!(s.read("status"), format!("1:{first}\n2:{second}\n"));
    s.settle();
    first.signal(Signal::SIGKILL);
    assert_eq!(s.wait_generation(2), second);
    second.signal(Signal::SIGKILL);
    s.wait_generation(3).signal(Signal::SIGKILL);
}

#[test]
fn status_file_is_absent_before_the_first_readiness() {
    let s = supervisor(&["--interval=1000"]).sh(SLEEPS).spawn();
    s.wait_up(1);
    s.settle();
    assert!(!s.path("status").exists());
    s.stop();
}

#[test]
fn status_file_does_not_list_a_starting_generation() {
    let s = start(&["--interval=2"], FAILS_ON_DEMAND);
    let first = s.wait_generation(1);
    s.write("fail", "");
    s.hup();
    for _ in 0..2 {
        s.wait_line_starting("new worker ");
        assert_eq!(s.read("status"), format!("1:{first}\n"));
    }
    s.term();
    assert_eq!(s.wait_exit().code(), Some(0));
}

#[test]
fn status_file_is_removed_at_exit_without_leftovers() {
    let s = start(&[], SLEEPS);
    s.hup();
    s.wait_generation(2);
    s.stop();
    let names = fs::read_dir(s.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(
        names,
        ["never", "out", "stderr", "stdout"],
        "the first four files belong to the test"
    );
}

#[test]
fn status_file_is_replaced_by_rename() {
    let s = start(&[], SLEEPS);
    let first = fs::File::open(s.path("status")).unwrap();
    s.hup();
    s.wait_generation(2);
    assert_ne!(
        first.metadata().unwrap().ino(),
        s.path("status").metadata().unwrap().ino()
    );
    s.stop();
}

#[test]
fn reader_never_sees_a_partial_status_file() {
    let s = start(&[], SLEEPS);
    let (path, over) = (s.path("status"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).expect("there is no status file");
                let whole = |line: &str| {
                    line.split_once(':')
                        .is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok())
                };
                assert!(
                    text.ends_with('\n') && text.lines().all(whole),
                    "it says {text:?}"
                );
                seen += 1;
            }
            seen
        });
        for generation in 1..=10 {
            s.wait_generation(generation);
            s.hup();
        }
        s.wait_generation(11);
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    s.stop();
}

#[test]
fn stale_status_file_is_replaced() {
    let s = supervisor(&[])
        .file("status", "7:4711\n8:4712\n")
        .sh(SLEEPS)
        .spawn();
    let first = s.wait_generation(1);
    assert_eq!(s.read("status"), format!("1:{first}\n"));
    s.stop();
    assert!(!s.path("status").exists());
}

mod extensions {
    use nix::sys::signal::Signal;

    use crate::fixtures::{bare_supervisor, start};

    #[test]
    fn generations_are_listed_in_numeric_order() {
        let worker =
            "if [ $SERVER_STARTER_GENERATION -ge 9 ]; then trap '' TERM; fi; up; exec sleep 1000";
        let s = start(&[], worker);
        for generation in 1..9 {
            s.wait_generation(generation);
            s.hup();
        }
        let ninth = s.wait_generation(9);
        s.hup();
        let tenth = s.wait_up(10);
        s.eventually("both generations are in the status file", || {
            s.read("status") == format!("9:{ninth}\n10:{tenth}\n")
        });
        s.term();
        s.wait_line_starting("received TERM");
        for worker in [ninth, tenth] {
            worker.signal(Signal::SIGKILL);
        }
        s.expect_exit(0);
    }

    #[test]
    fn unwritable_status_file_is_exit_status_1() {
        let options = ["--status-file=DIR/missing/status"];
        let refused = bare_supervisor(&options).program(["--", "true"]).run();
        refused.expect(1, &["missing/status", "No such file or directory"]);
        assert!(!refused.stderr.contains("starting new worker"), "{refused}");
    }
}
