//! Failures of the environment: programs and directories that vanish, no more processes, no more descriptors, a dead
//! standard error. The supervisor serves on.

mod extensions {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{Process, Supervisor, SupervisorBuilder, exports, skipped};

    use crate::fixtures::{bare_supervisor, start, supervisor};

    /// The worker is a file in the test's directory, which can be removed.
    fn with_program(options: &[&str]) -> SupervisorBuilder {
        let program =
            "#!/bin/sh\necho \"$SERVER_STARTER_GENERATION $$\" >>\"$OUT\"\nexec sleep 1000\n";
        supervisor(options)
            .executable("bin/server", program)
            .reports_up()
    }

    /// The worker of generation 1 still serves alone.
    #[track_caller]
    fn serves_on(s: &Supervisor, first: Process) {
        assert!(first.is_alive() && s.exited().is_none());
        assert_eq!(s.status(), [(1, first)]);
        assert_eq!(s.read("pid"), format!("{}\n", s.process()));
        assert!(s.path("a.sock").exists());
    }

    /// Waits until a later generation than the first is alone; returns it.
    #[track_caller]
    fn wait_successor(s: &Supervisor) -> u32 {
        s.eventually(
            "a new generation has taken over",
            || matches!(s.status()[..], [(generation, _)] if generation > 1),
        );
        s.status()[0].0
    }

    #[test]
    fn missing_program_at_a_reload_leaves_the_old_worker() {
        let options = ["--pid-file=DIR/pid", "--path=DIR/a.sock"];
        let s = with_program(&options)
            .program(["--", "./bin/server"])
            .start();
        let first = s.wait_generation(1);
        fs::rename(s.path("bin/server"), s.path("bin/away")).unwrap();
        s.hup();
        for _ in 0..2 {
            s.wait_line("failed to exec ./bin/server: No such file or directory");
        }
        serves_on(&s, first);
        fs::rename(s.path("bin/away"), s.path("bin/server")).unwrap();
        assert!(
            wait_successor(&s) > 2,
            "the failed attempts used no generation"
        );
        s.wait_line(&format!(
            "new worker is now running, sending TERM to old workers:{first}"
        ));
        s.stop();
    }

    #[test]
    fn missing_directory_at_a_reload_leaves_the_old_worker() {
        let options = ["--pid-file=DIR/pid", "--path=DIR/a.sock", "--dir=DIR/bin"];
        let s = with_program(&options).program(["--", "./server"]).start();
        let first = s.wait_generation(1);
        fs::rename(s.path("bin"), s.path("away")).unwrap();
        s.hup();
        let line = format!(
            "failed to chdir to {}: No such file or directory",
            s.path("bin").display()
        );
        s.wait_line(&line);
        s.wait_line(&line);
        serves_on(&s, first);
        fs::rename(s.path("away"), s.path("bin")).unwrap();
        wait_successor(&s);
        s.stop();
    }

    #[test]
    fn missing_program_after_a_crash_is_tried_again() {
        let s = with_program(&["--pid-file=DIR/pid"])
            .program(["--", "./bin/server"])
            .start();
        let first = s.wait_generation(1);
        fs::rename(s.path("bin/server"), s.path("bin/away")).unwrap();
        first.signal(Signal::SIGKILL);
        s.wait_line(&format!(
            "worker {first} died unexpectedly with status:9, restarting"
        ));
        s.wait_line("failed to exec ./bin/server: No such file or directory");
        assert!(s.exited().is_none() && s.path("pid").exists());
        fs::rename(s.path("bin/away"), s.path("bin/server")).unwrap();
        wait_successor(&s);
        s.stop();
    }

    #[test]
    fn term_stops_a_supervisor_whose_program_is_missing() {
        let s = with_program(&[]).program(["--", "./bin/server"]).start();
        let first = s.wait_generation(1);
        fs::remove_file(s.path("bin/server")).unwrap();
        s.hup();
        s.wait_line("failed to exec ./bin/server: No such file or directory");
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{first}"
        ));
        s.expect_exit(0);
    }

    #[test]
    fn start_attempts_include_a_missing_program() {
        let options = [
            "--start-attempts=2",
            "--pid-file=DIR/pid",
            "--path=DIR/a.sock",
        ];
        let s = with_program(&options)
            .program(["--", "./bin/server"])
            .start();
        let first = s.wait_generation(1);
        fs::remove_file(s.path("bin/server")).unwrap();
        s.hup();
        s.wait_line("giving up after 2 attempts, generation 1 keeps serving");
        serves_on(&s, first);
        s.stop();
    }

    /// Sets a limit of a running process, as the process's user.
    #[track_caller]
    fn limit(process: Process, user: Option<u32>, limit: &str) {
        let mut command = match user {
            Some(user) => as_user(user),
            None => Command::new("prlimit"),
        };
        if user.is_some() {
            command.arg("prlimit");
        }
        let status = command
            .arg("--pid")
            .arg(process.to_string())
            .arg(limit)
            .status()
            .unwrap();
        assert!(status.success(), "prlimit {limit}: {status}");
    }

    fn as_user(user: u32) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
        ]);
        command
    }

    /// Whether the command is installed and permitted.
    fn works(command: &mut Command) -> bool {
        command.output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn failed_fork_at_a_reload_leaves_the_old_worker() {
        // root has no such limit: the supervisor runs as another user then
        let root = nix::unistd::geteuid().is_root();
        let user = root.then_some(60_000 + std::process::id() % 5_000);
        if !works(Command::new("prlimit").arg("--version"))
            || user.is_some_and(|user| !works(as_user(user).arg("true")))
        {
            skipped("a limit of processes needs prlimit(1), and as root setpriv(1)");
            return;
        }
        let mut builder = supervisor(&["--pid-file=DIR/pid", "--path=DIR/a.sock"]).sh(SLEEPS);
        if let Some(user) = user {
            builder = builder.copied().before(&format!(
                "chmod 755 .; chown -R {user} .; \
                 set -- setpriv --reuid={user} --regid={user} --clear-groups \"$@\""
            ));
        }
        let s = builder.start();
        let first = s.wait_generation(1);
        limit(s.process(), user, "--nproc=1:");
        s.hup();
        s.wait_line("received HUP, spawning a new worker");
        s.eventually("the reason is logged", || {
            s.log().contains("Resource temporarily unavailable")
        });
        serves_on(&s, first);
        limit(s.process(), user, "--nproc=1000:");
        wait_successor(&s);
        s.stop();
    }

    #[test]
    fn reload_survives_a_lack_of_descriptors() {
        let s = start(
            &[
                "--pid-file=DIR/pid",
                "--path=DIR/a.sock",
                "--port=127.0.0.1:PORT",
            ],
            SLEEPS,
        );
        let first = s.wait_generation(1);
        s.settle();
        if !works(Command::new("prlimit").arg("--version")) {
            skipped("a limit of descriptors needs prlimit(1)");
            return;
        }
        // no more than it has open
        let most = s.process().descriptors().into_keys().max().unwrap() + 1;
        limit(s.process(), None, &format!("--nofile={most}:"));
        s.hup();
        s.wait_line("received HUP, spawning a new worker");
        // With or without a new worker: a worker serves, and the reload is completed when the limit is raised.
        s.settle();
        assert!(s.exited().is_none() && !s.status().is_empty());
        assert!(first.is_alive() || s.status() != [(1, first)]);
        limit(s.process(), None, "--nofile=1000:");
        wait_successor(&s);
        s.hup();
        s.eventually(
            "another generation has taken over",
            || matches!(s.status()[..], [(generation, _)] if generation > 2),
        );
        s.stop();
    }

    #[test]
    fn unwritable_status_file_does_not_stop_the_service() {
        let options = ["--status-file=DIR/run/status", "--pid-file=DIR/pid"];
        let s = bare_supervisor(&options)
            .file("run/x", "")
            .sh(SLEEPS)
            .start();
        s.eventually("there is a status file", || s.path("run/status").exists());
        let first = s.wait_up(1);
        fs::rename(s.path("run"), s.path("away")).unwrap();
        s.hup();
        s.wait_line(&format!("old worker {first} died, status:15"));
        let told = |line: &String| {
            line.contains("run/status") && line.contains("No such file or directory")
        };
        assert!(
            s.lines().iter().any(told),
            "the failed write of the status file is not logged"
        );
        let second = s.wait_up(2);
        assert!(second.is_alive() && s.exited().is_none());
        fs::rename(s.path("away"), s.path("run")).unwrap();
        s.hup();
        let third = s.wait_up(3);
        s.eventually("the status file is written again", || {
            s.read("run/status") == format!("3:{third}\n")
        });
        s.stop();
        assert!(!s.path("run/status").exists());
    }

    #[test]
    fn replaced_status_file_does_not_stop_the_service() {
        let options = ["--status-file=DIR/run/status", "--pid-file=DIR/pid"];
        let s = bare_supervisor(&options)
            .file("run/x", "")
            .sh(SLEEPS)
            .start();
        s.eventually("there is a status file", || s.path("run/status").exists());
        let first = s.wait_up(1);
        fs::remove_file(s.path("run/status")).unwrap();
        fs::create_dir(s.path("run/status")).unwrap();
        s.write("run/status/precious", "");
        s.hup();
        s.wait_line(&format!("old worker {first} died, status:15"));
        assert!(
            s.lines().iter().any(|line| line.contains("run/status")),
            "the failed write of the status file is not logged"
        );
        s.wait_up(2);
        s.stop();
        assert!(s.path("run/status/precious").exists());
        let left = fs::read_dir(s.path("run")).unwrap().count();
        assert_eq!(left, 2, "a temporary file is left");
    }

    #[test]
    fn unknown_children_are_reaped_without_a_line() {
        // the supervisor inherits a child from the shell that it was before its exec
        let before =
            "mkfifo \"$DIR/gate\"; { read go <\"$DIR/gate\"; } & echo $! >\"$DIR/unknown\"";
        let s = supervisor(&[]).before(before).sh(SLEEPS).start();
        let unknown = Process(s.read("unknown").trim().parse().unwrap());
        assert_eq!(unknown.parent(), Some(s.process()));
        s.open_gate("gate");
        s.eventually("the unknown child is reaped", || unknown.state().is_none());
        s.hup();
        s.wait_generation(2);
        s.stop();
        assert!(
            !s.log().contains(&unknown.to_string()),
            "the log mentions the unknown child {unknown}"
        );
    }

    #[test]
    fn unwritable_standard_error_does_not_stop_the_service() {
        let dead_pipe = "mkfifo err; cat err >/dev/null & exec 2>err; kill $!; wait $! 2>/dev/null";
        for before in ["exec 2>/dev/full", "exec 2>&-", dead_pipe] {
            let s = supervisor(&["--path=DIR/a.sock"])
                .before(before)
                .sh(SLEEPS)
                .start();
            s.wait_generation(1).signal(Signal::SIGKILL);
            s.wait_generation(2);
            s.hup();
            s.wait_generation(3);
            s.stop();
            assert!(!s.path("a.sock").exists(), "{before}");
        }
    }

    #[test]
    fn sockets_do_not_take_closed_standard_streams() {
        let s = supervisor(&["--port=127.0.0.1:PORT"])
            .before("exec 0<&- 1>&- 2>&-")
            .sh(SLEEPS)
            .start();
        let worker = s.wait_generation(1);
        assert_eq!(exports(worker)[0].1, 3);
        let descriptors = worker.descriptors();
        assert!(
            (0..3).all(|fd| descriptors
                .get(&fd)
                .is_none_or(|target| !target.starts_with("socket:"))),
            "{descriptors:#?}"
        );
        s.stop();
    }

    #[test]
    fn replaced_binary_of_the_supervisor_has_no_effect() {
        let s = supervisor(&["--pid-file=DIR/pid"])
            .sh(SLEEPS)
            .copied()
            .start();
        fs::remove_file(s.path("start_server")).unwrap();
        s.hup();
        s.wait_generation(2);
        s.stop();
        assert!(!Path::new(&s.path("pid")).exists());
    }
}
