//! `--pid-file`: its content, its lock, its removal, and files that already exist under its name.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use server_starter_testing::workers::SLEEPS;

use crate::fixtures::{start, supervisor};

const OPTION: &str = "--pid-file=DIR/pid";

#[test]
fn pid_file_has_the_pid_and_a_newline() {
    let s = start(&[OPTION], SLEEPS);
    assert_eq!(s.read("pid"), format!("{}\n", s.process()));
    s.hup();
    s.wait_generation(2);
    assert_eq!(s.read("pid"), format!("{}\n", s.process()));
    s.stop();
}

#[test]
fn pid_file_is_locked_while_the_supervisor_runs() {
    let s = start(&[OPTION], SLEEPS);
    let file = File::open(s.path("pid")).unwrap();
    let (file, error) = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap_err();
    assert_eq!(error, Errno::EWOULDBLOCK);
    s.stop();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("the lock is still held");
}

#[test]
fn lock_is_not_inherited_by_workers() {
    let s = start(
        &[OPTION, "--signal-on-term=USR2"],
        "trap '' USR2; up; exec sleep 1000",
    );
    let file = File::open(s.path("pid")).unwrap();
    s.wait_generation(1);
    s.settle();
    s.process().signal(nix::sys::signal::Signal::SIGKILL);
    s.wait_exit();
    assert_eq!(s.survivors().len(), 1);
    Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("the orphaned worker holds the lock");
}

#[test]
fn pid_file_is_removed_at_exit() {
    let s = start(&[OPTION], SLEEPS);
    assert!(s.path("pid").exists());
    s.stop();
    assert!(!s.path("pid").exists());
}

#[test]
fn stale_pid_file_is_overwritten() {
    let s = supervisor(&[OPTION])
        .file("pid", "999999999\nand more\n")
        .sh(SLEEPS)
        .start();
    assert_eq!(s.read("pid"), format!("{}\n", s.process()));
    s.stop();
    assert!(!s.path("pid").exists());
}

#[test]
fn unwritable_pid_file_is_named() {
    let options = ["--pid-file=DIR/missing/pid"];
    supervisor(&options)
        .program(["--", "true"])
        .run()
        .expect_failure(&["missing/pid"]);
}

mod extensions {
    use std::fs::{self, File};

    use nix::fcntl::{Flock, FlockArg};
    use server_starter_testing::workers::SLEEPS;

    use super::OPTION;
    use crate::fixtures::{start, supervisor};

    #[test]
    fn second_start_is_refused() {
        let s = start(&[OPTION, "--path=DIR/a.sock"], SLEEPS);
        let worker = s.wait_generation(1);
        let second = s.command(&[OPTION, "--path=DIR/b.sock", "--", "true"]);
        second.expect(
            1,
            &[
                "is locked by a running supervisor",
                "/pid",
                &s.process().to_string(),
            ],
        );
        assert!(!second.stderr.contains("starting new worker"), "{second}");
        assert_eq!(s.read("pid"), format!("{}\n", s.process()));
        assert!(s.path("a.sock").exists() && !s.path("b.sock").exists());
        assert!(worker.is_alive());
        let file = File::open(s.path("pid")).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).expect_err("the lock is gone");
        s.stop();
    }

    #[test]
    fn pid_file_locked_by_another_program_is_not_changed() {
        let builder = supervisor(&[OPTION])
            .file("pid", "4711\n")
            .program(["--", "true"]);
        let file = File::options()
            .write(true)
            .open(builder.path("pid"))
            .unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let refused = builder.run();
        refused.expect(1, &["is locked by a running supervisor", "4711"]);
        assert_eq!(fs::read_to_string(refused.path("pid")).unwrap(), "4711\n");
        drop(lock);
    }

    #[test]
    fn file_that_is_not_a_pid_file_is_not_changed() {
        let far = " ".repeat(100) + "text";
        for content in ["text\n", "47 11\n", "\ntext\n", &far] {
            let builder = supervisor(&[OPTION]).file("pid", content);
            let refused = builder.program(["--", "true"]).run();
            refused.expect(1, &["/pid", "something else than a pid"]);
            assert_eq!(fs::read_to_string(refused.path("pid")).unwrap(), content);
        }
        for content in ["", "\n", "\n4711\n"] {
            let s = supervisor(&[OPTION])
                .file("pid", content)
                .sh(SLEEPS)
                .start();
            assert_eq!(s.read("pid"), format!("{}\n", s.process()));
            s.stop();
        }
    }

    #[test]
    fn unwritable_pid_file_is_exit_status_1() {
        let options = ["--pid-file=DIR/missing/pid", "--path=DIR/a.sock"];
        let refused = supervisor(&options).program(["--", "true"]).run();
        refused.expect(1, &["missing/pid", "No such file or directory"]);
        assert!(!refused.path("a.sock").exists());
        let directory = supervisor(&["--pid-file=DIR"])
            .program(["--", "true"])
            .run();
        directory.expect(1, &["Is a directory"]);
    }

    #[test]
    fn failed_start_leaves_no_pid_file() {
        let options = [OPTION, "--dir=/no/such/directory"];
        let failed = supervisor(&options).program(["--", "true"]).run();
        failed.expect(1, &["/no/such/directory"]);
        assert!(!failed.path("pid").exists());
    }

    #[test]
    fn replaced_pid_file_is_not_removed_at_exit() {
        let s = start(&[OPTION], SLEEPS);
        fs::remove_file(s.path("pid")).unwrap();
        s.write("pid", "4711\n");
        s.stop();
        assert_eq!(s.read("pid"), "4711\n");
    }

    #[test]
    fn removed_pid_file_is_no_error_at_exit() {
        let s = start(&[OPTION], SLEEPS);
        fs::remove_file(s.path("pid")).unwrap();
        s.hup();
        s.wait_generation(2);
        s.stop();
    }
}
