//! `--envdir`: one file per variable, read before each start of a worker.

use nix::sys::signal::Signal;
use server_starter_testing::Process;
use server_starter_testing::workers::SLEEPS;

use crate::fixtures::{start, supervisor};

const OPTION: &str = "--envdir=DIR/env";

fn value(worker: Process, name: &str) -> String {
    worker
        .variable(name)
        .unwrap_or_else(|| "(unset)".to_owned())
}

#[test]
fn file_sets_a_variable_to_its_first_line() {
    let s = supervisor(&[OPTION])
        .file("env/PLAIN", "value\n")
        .file("env/UNTERMINATED", "value")
        .file("env/SECOND_LINE", "first\nsecond\n")
        .file("env/SPACES", "  inner  and outer \t\n")
        .file("env/EQUALS", "a=b;c=d\n")
        .file("env/UTF8", "grüße\n")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(value(worker, "PLAIN"), "value");
    assert_eq!(value(worker, "UNTERMINATED"), "value");
    assert_eq!(value(worker, "SECOND_LINE"), "first");
    assert_eq!(value(worker, "SPACES"), "  inner  and outer \t");
    assert_eq!(value(worker, "EQUALS"), "a=b;c=d");
    assert_eq!(value(worker, "UTF8"), "grüße");
    s.stop();
}

#[test]
fn envdir_is_named_by_the_environment() {
    let builder = supervisor(&[]).file("env/COLOR", "red\n");
    let directory = builder.path("env");
    let s = builder.env("ENVDIR", directory).sh(SLEEPS).start();
    assert_eq!(value(s.wait_generation(1), "COLOR"), "red");
    s.stop();
}

#[test]
fn option_overrides_the_environment() {
    let builder = supervisor(&[OPTION])
        .file("env/COLOR", "red\n")
        .file("other/COLOR", "green\n");
    let other = builder.path("other");
    let s = builder.env("ENVDIR", other).sh(SLEEPS).start();
    assert_eq!(value(s.wait_generation(1), "COLOR"), "red");
    s.stop();
}

#[test]
fn file_overrides_the_environment() {
    let s = supervisor(&[OPTION])
        .file("env/COLOR", "red\n")
        .env("COLOR", "green")
        .sh(SLEEPS)
        .start();
    assert_eq!(value(s.wait_generation(1), "COLOR"), "red");
    s.stop();
}

#[test]
fn dot_files_are_skipped() {
    let s = supervisor(&[OPTION])
        .file("env/.HIDDEN", "seen\n")
        .file("env/OTHER", "seen\n")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(value(worker, "OTHER"), "seen");
    let hidden: Vec<String> = worker
        .environ()
        .into_iter()
        .filter(|entry| entry.contains("HIDDEN"))
        .collect();
    assert_eq!(hidden, [""; 0]);
    s.stop();
}

#[test]
fn empty_file_is_ignored_and_a_blank_line_is_the_empty_string() {
    let s = supervisor(&[OPTION])
        .file("env/EMPTY", "")
        .file("env/KEPT", "")
        .file("env/BLANK", "\n")
        .file("env/BLANKED", "\nsecond\n")
        .env("KEPT", "own")
        .env("BLANKED", "own")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(value(worker, "EMPTY"), "(unset)");
    assert_eq!(value(worker, "KEPT"), "own");
    assert_eq!(value(worker, "BLANK"), "");
    assert_eq!(value(worker, "BLANKED"), "");
    s.stop();
}

#[test]
fn entry_that_is_not_a_file_is_ignored() {
    let s = supervisor(&[OPTION])
        .file("env/SUB/file", "x\n")
        .file("env/COLOR", "red\n")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(
        (value(worker, "SUB"), value(worker, "COLOR")),
        ("(unset)".to_owned(), "red".to_owned())
    );
    s.stop();
}

#[test]
fn missing_directory_is_ignored() {
    let s = start(&["--envdir=DIR/missing"], SLEEPS);
    s.hup();
    s.wait_generation(2);
    s.stop();
}

#[test]
fn envdir_is_read_again_before_a_reload() {
    let s = supervisor(&[OPTION])
        .file("env/COLOR", "red\n")
        .sh(SLEEPS)
        .start();
    assert_eq!(value(s.wait_generation(1), "COLOR"), "red");
    s.write("env/COLOR", "green\n");
    s.write("env/SHAPE", "round\n");
    s.hup();
    let second = s.wait_generation(2);
    assert_eq!(
        (value(second, "COLOR"), value(second, "SHAPE")),
        ("green".to_owned(), "round".to_owned())
    );
    s.stop();
}

#[test]
fn envdir_is_read_again_after_a_crash() {
    let s = supervisor(&[OPTION])
        .file("env/COLOR", "red\n")
        .sh(SLEEPS)
        .start();
    let first = s.wait_generation(1);
    s.write("env/COLOR", "green\n");
    s.settle();
    first.signal(Signal::SIGKILL);
    assert_eq!(value(s.wait_generation(2), "COLOR"), "green");
    s.stop();
}

#[test]
fn path_in_the_envdir_is_used_to_find_the_program() {
    let server =
        |version| format!("#!/bin/sh\necho {version} >>\"$DIR/versions\"\nexec sleep 1000\n");
    let builder = supervisor(&[OPTION, "--signal-on-hup=KILL"])
        .executable("v1/my-server", &server(1))
        .executable("v2/my-server", &server(2))
        .program(["--", "my-server"]);
    let path = |version: &str| format!("{}:/usr/bin:/bin\n", builder.path(version).display());
    let (first, second) = (path("v1"), path("v2"));
    let s = builder.file("env/PATH", &first).start();
    s.eventually("the first version runs", || s.read("versions") == "1\n");
    s.write("env/PATH", &second);
    s.hup();
    s.eventually("the second version runs", || s.read("versions") == "1\n2\n");
    s.stop();
}

#[test]
fn envdir_overrides_the_command_line() {
    let options = [OPTION, "--kill-old-delay=1000"];
    let s = supervisor(&options)
        .file("env/KILL_OLD_DELAY", "1\n")
        .sh(SLEEPS)
        .start();
    let first = s.wait_generation(1);
    s.hup();
    s.wait_line("sleeping 1 secs before killing old workers");
    s.wait_line(&format!("old worker {first} died, status:15"));
    s.wait_generation(2);
    s.stop();
}

#[test]
fn changed_kill_old_delay_takes_effect() {
    let s = supervisor(&[OPTION])
        .file("env/KILL_OLD_DELAY", "0\n")
        .sh(SLEEPS)
        .start();
    s.hup();
    s.wait_generation(2);
    assert_eq!(s.count("sleeping "), 0);
    s.write("env/KILL_OLD_DELAY", "1\n");
    s.hup();
    s.wait_line("sleeping 1 secs before killing old workers");
    s.wait_generation(3);
    s.stop();
}

mod extensions {
    use std::fs;

    use server_starter_testing::workers::SLEEPS;

    use super::{OPTION, value};
    use crate::fixtures::supervisor;

    #[test]
    fn removed_file_unsets_its_variable_or_restores_the_environment() {
        let s = supervisor(&[OPTION])
            .file("env/COLOR", "red\n")
            .file("env/SHAPE", "round\n")
            .env("SHAPE", "square")
            .sh(SLEEPS)
            .start();
        let first = s.wait_generation(1);
        assert_eq!(
            (value(first, "COLOR"), value(first, "SHAPE")),
            ("red".to_owned(), "round".to_owned())
        );
        fs::remove_file(s.path("env/COLOR")).unwrap();
        fs::remove_file(s.path("env/SHAPE")).unwrap();
        s.hup();
        let second = s.wait_generation(2);
        assert_eq!(
            (value(second, "COLOR"), value(second, "SHAPE")),
            ("(unset)".to_owned(), "square".to_owned())
        );
        s.stop();
    }

    /// Directories are swapped by renaming; a reload in between must keep the variables.
    #[test]
    fn unreadable_directory_keeps_the_last_values() {
        let s = supervisor(&[OPTION])
            .file("env/COLOR", "red\n")
            .env("COLOR", "green")
            .sh(SLEEPS)
            .start();
        fs::rename(s.path("env"), s.path("away")).unwrap();
        s.hup();
        assert_eq!(value(s.wait_generation(2), "COLOR"), "red");
        assert_eq!(s.count("cannot read envdir "), 1);
        fs::create_dir(s.path("env")).unwrap();
        s.hup();
        assert_eq!(value(s.wait_generation(3), "COLOR"), "green");
        s.stop();
    }

    #[test]
    fn removed_kill_old_delay_restores_the_command_line() {
        let options = [OPTION, "--kill-old-delay=1"];
        let s = supervisor(&options)
            .file("env/KILL_OLD_DELAY", "0\n")
            .sh(SLEEPS)
            .start();
        s.hup();
        s.wait_generation(2);
        assert_eq!(s.count("sleeping "), 0);
        fs::remove_file(s.path("env/KILL_OLD_DELAY")).unwrap();
        s.hup();
        s.wait_line("sleeping 1 secs before killing old workers");
        s.wait_generation(3);
        s.stop();
    }

    #[test]
    fn invalid_value_does_not_stop_the_service() {
        let s = supervisor(&[OPTION])
            .file("env/COLOR", "red\n")
            .sh(SLEEPS)
            .start();
        s.write("env/KILL_OLD_DELAY", "soon\n");
        s.write("env/AUTO_RESTART_INTERVAL", "-1\n");
        s.hup();
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn name_with_an_equals_sign_does_not_stop_the_service() {
        let s = supervisor(&[OPTION])
            .file("env/A=B", "c\n")
            .file("env/COLOR", "red\n")
            .sh(SLEEPS)
            .start();
        assert_eq!(value(s.wait_generation(1), "COLOR"), "red");
        s.stop();
    }

    #[test]
    fn variables_set_for_workers_cannot_be_overridden() {
        let builder = supervisor(&[OPTION, "--port=127.0.0.1:PORT"])
            .file("env/SERVER_STARTER_PORT", "80=3\n")
            .file("env/SERVER_STARTER_GENERATION", "99\n");
        let s = builder.sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        assert_eq!(value(worker, "SERVER_STARTER_GENERATION"), "1");
        assert_eq!(
            value(worker, "SERVER_STARTER_PORT"),
            format!("127.0.0.1:{}=3", s.port(0))
        );
        s.stop();
    }
}
