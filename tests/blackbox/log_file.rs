//! `--log-file`: a file, or the standard input of a shell command.

use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{SupervisorBuilder, eventually};

use crate::fixtures::supervisor;

const TALKS: &str = "echo to standard output; echo to standard error >&2; up; exec sleep 1000";

/// A supervisor with this `--log-file` and its lines in `DIR/log`.
fn logging_to(option: &str) -> SupervisorBuilder {
    supervisor(&["--log-file", option]).log("log")
}

#[test]
fn output_of_supervisor_and_workers_goes_to_the_file() {
    let s = logging_to("DIR/log").sh(TALKS).start();
    let first = s.wait_new_worker();
    s.wait_output("to standard output");
    s.wait_output("to standard error");
    s.hup();
    s.wait_line("received HUP, spawning a new worker");
    s.wait_line(&format!("old worker {first} died, status:15"));
    s.wait_generation(2);
    s.stop();
    s.wait_line("exiting");
    assert_eq!(s.read("stdout"), "");
    assert!(!s.read("stderr").contains("starting new worker"));
}

#[test]
fn existing_log_file_is_appended_to() {
    let s = logging_to("DIR/log")
        .file("log", "from last time\n")
        .sh(SLEEPS)
        .start();
    s.wait_line("from last time");
    s.wait_new_worker();
    s.stop();
}

#[test]
fn relative_log_file_is_in_the_directory_of_the_supervisor() {
    let s = supervisor(&["--log-file=log", "--dir=DIR/elsewhere"])
        .file("elsewhere/x", "")
        .log("log")
        .sh(TALKS)
        .start();
    s.wait_new_worker();
    s.wait_output("to standard output");
    s.stop();
}

#[test]
fn pipe_starts_a_log_command() {
    for option in [
        "| cat >>DIR/log",
        "|cat >>DIR/log",
        "  |  sed 's/^//' | cat >>DIR/log",
    ] {
        let s = logging_to(option).sh(TALKS).start();
        let worker = s.wait_generation(1);
        s.term();
        assert_eq!(s.wait_exit().code(), Some(0));
        // sed writes at the end of its input, after the end of the supervisor
        eventually("the last line is in the log", || {
            s.log().contains("exiting\n")
        });
        assert!(s.started().contains(&worker), "{option}");
        for line in ["to standard output\n", "to standard error\n"] {
            assert!(s.log().contains(line), "{option}: {line:?} is missing");
        }
        assert_eq!(s.read("stdout"), "");
    }
}

#[test]
fn log_file_that_cannot_be_opened_is_named() {
    let options = ["--log-file=DIR/missing/log"];
    supervisor(&options)
        .program(["--", "true"])
        .run()
        .expect_failure(&["missing/log"]);
}

mod extensions {
    use std::fs;

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{Process, Supervisor};

    use super::logging_to;
    use crate::fixtures::supervisor;

    /// A log command that appends its pid to `DIR/loggers`.
    const LOGGER: &str = "| echo $$ >>DIR/loggers; exec cat >>DIR/log";

    fn loggers(s: &Supervisor) -> Vec<Process> {
        s.read("loggers")
            .lines()
            .map(|line| Process(line.parse().unwrap()))
            .collect()
    }

    #[test]
    fn log_file_that_cannot_be_opened_is_exit_status_1() {
        let options = ["--log-file=DIR/missing/log"];
        let failed = supervisor(&options).program(["--", "true"]).run();
        failed.expect(1, &["missing/log", "No such file or directory"]);
    }

    #[test]
    fn dead_log_command_is_restarted_and_no_line_is_lost() {
        let worker =
            "exec 9<>\"$DIR/gate\"; up; while read line <&9; do echo \"worker says $line\"; done";
        let s = supervisor(&["--log-file", LOGGER])
            .log("log")
            .before("mkfifo \"$DIR/gate\"")
            .sh(worker)
            .start();
        for round in 1..=3 {
            s.open_gate("gate");
            s.wait_line("worker says go");
            s.eventually("a log command has written its pid", || {
                loggers(&s).len() == round
            });
            let logger = loggers(&s)[round - 1];
            logger.signal(Signal::SIGKILL);
            s.eventually("the log command is dead", || !logger.is_alive());
        }
        s.open_gate("gate");
        s.wait_line("worker says go");
        s.wait_generation(1);
        s.stop();
        assert_eq!(s.count("worker says go"), 4);
        s.wait_line("exiting");
    }

    #[test]
    fn dead_log_command_leaves_no_zombie() {
        let s = supervisor(&["--log-file", LOGGER])
            .log("log")
            .sh(SLEEPS)
            .start();
        s.eventually("the log command has written its pid", || {
            loggers(&s).len() == 1
        });
        loggers(&s)[0].signal(Signal::SIGKILL);
        s.eventually("another log command has written its pid", || {
            loggers(&s).len() == 2
        });
        assert_eq!(loggers(&s)[0].state(), None);
        s.stop();
    }

    #[test]
    fn log_command_has_read_all_lines_at_exit() {
        let s = supervisor(&["--log-file", LOGGER])
            .log("log")
            .sh(SLEEPS)
            .start();
        s.wait_new_worker();
        s.stop();
        assert_eq!(s.lines().last().map(String::as_str), Some("exiting"));
        assert!(!loggers(&s)[0].is_alive());
    }

    #[test]
    fn supervisor_closes_the_pipe_at_exit_and_waits_for_the_log_command() {
        // If the supervisor kept the pipe open, each would wait for the other until the time-out.
        let logger = "| cat >>DIR/log; test -e /proc/$PPID/exe && echo first >>DIR/ended";
        let s = logging_to(logger).sh(SLEEPS).start();
        s.wait_new_worker();
        s.term();
        assert_eq!(s.wait_exit().code(), Some(0));
        assert_eq!(s.read("ended"), "first\n");
    }

    #[test]
    fn log_command_that_does_not_read_does_not_block_the_supervisor() {
        let s = supervisor(&["--log-file", "| exec sleep 1000"])
            .log("log")
            .sh("up; exec yes")
            .start();
        let first = s.wait_generation(1);
        s.eventually("the pipe is full", || first.state() == Some('S'));
        s.hup();
        s.wait_generation(2);
        s.term();
        assert_eq!(s.wait_exit().code(), Some(0));
    }

    /// The log itself would not show it.
    #[test]
    fn failing_log_command_is_reported_on_standard_error() {
        let builder = supervisor(&["--log-file=| exit 3"]).sh(SLEEPS);
        let s = builder.spawn();
        s.wait_line_starting("start_server: the log command ended at once (exit code 3)");
        s.wait_generation(1);
        s.term();
        assert_eq!(s.wait_exit().code(), Some(0));
    }

    #[test]
    fn log_command_is_not_treated_as_a_worker() {
        let s = supervisor(&["--log-file", LOGGER])
            .log("log")
            .sh(SLEEPS)
            .start();
        s.eventually("the log command has written its pid", || {
            loggers(&s).len() == 1
        });
        // a line that it has read and not written would be lost
        s.wait_new_worker();
        let logger = loggers(&s)[0];
        logger.signal(Signal::SIGKILL);
        s.eventually("another log command has written its pid", || {
            loggers(&s).len() == 2
        });
        s.hup();
        s.wait_generation(2);
        s.stop();
        assert!(
            !s.log().contains(&format!("worker {logger} died")),
            "the log command was taken for a worker"
        );
        assert_eq!(s.started().len(), 2);
    }

    #[test]
    fn usr1_reopens_the_log_file() {
        let s = logging_to("DIR/log")
            .sh("echo \"generation $SERVER_STARTER_GENERATION\"; up; exec sleep 1000")
            .start();
        s.wait_output("generation 1");
        fs::rename(s.path("log"), s.path("log.1")).unwrap();
        s.signal(Signal::SIGUSR1);
        s.eventually("the log file exists again", || s.path("log").exists());
        s.hup();
        s.eventually("new lines are in the new file", || {
            s.log().contains("received HUP, spawning a new worker\n")
        });
        s.eventually("the output of the new worker is in the new file", || {
            s.log().contains("generation 2\n")
        });
        s.wait_generation(2);
        s.stop();
        let old = s.read("log.1");
        assert!(
            old.contains("generation 1\n") && !old.contains("received HUP"),
            "the old file: {old}"
        );
    }

    #[test]
    fn usr1_keeps_the_log_when_the_file_cannot_be_opened() {
        let s = supervisor(&["--log-file=DIR/logs/log"])
            .file("logs/x", "")
            .log("logs/log")
            .sh(SLEEPS)
            .start();
        s.wait_new_worker();
        fs::rename(s.path("logs"), s.path("away")).unwrap();
        s.signal(Signal::SIGUSR1);
        s.hup();
        s.wait_generation(2);
        s.stop();
        assert!(
            s.read("away/log").contains("logs/log"),
            "the reason is not in the old file"
        );
    }
}
