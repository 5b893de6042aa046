//! The supervisor makes way for another release of itself, in the same process.

mod better {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use crate::harness::{
        GRACEFUL, Process, SLEEPS, Setup, Supervisor, Voice, binary, eventually,
        have_pid_namespaces, hello, skipped,
    };
    use crate::under_load::under_load;

    const CONTROL: &str = "--control=DIR/control";
    const UPGRADE: [&str; 2] = ["--upgrade", CONTROL];
    const UPGRADED: &str = "start_server (pid:";

    /// With `DIR/start_server`, a copy of the program under test, as the supervisor.
    fn setup(options: &[&str]) -> Setup {
        let options: Vec<&str> = [CONTROL].iter().chain(options).copied().collect();
        Setup::new(&options).copied()
    }

    /// Puts another file into the place of the supervisor's. A shell does it: see `Setup::executable`.
    #[track_caller]
    fn replace(s: &Supervisor, by: &str) {
        let script = format!("{by} && chmod 755 next && mv next start_server");
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-ec", &script, "sh"]).arg(binary());
        let done = shell.current_dir(s.path("")).status().unwrap();
        assert!(done.success(), "{script}");
    }

    /// A release like the one that runs, but another file.
    const NEXT: &str = "cp \"$1\" next";

    /// `DIR/real`, for scripts. Written by another process, for the same reason.
    #[track_caller]
    fn put_real(s: &Supervisor) -> std::path::PathBuf {
        let real = s.path("real");
        let done = Command::new("cp").arg(binary()).arg(&real).status();
        assert!(done.unwrap().success());
        real
    }

    fn script(text: &str) -> String {
        format!("printf '%s\\n' '#!/bin/sh' '{text}' >next")
    }

    fn upgrades(s: &Supervisor) -> usize {
        let lines = s.lines();
        let upgraded = |line: &&String| line.starts_with(UPGRADED) && line.contains(" upgraded ");
        lines.iter().filter(upgraded).count()
    }

    #[track_caller]
    fn wait_upgrades(s: &Supervisor, count: usize) {
        s.eventually(&format!("{count} upgrades"), || upgrades(s) == count);
    }

    /// What is open in a process, by kind: numbers of sockets and inodes differ.
    fn open_files(process: Process) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for target in process.descriptors().into_values() {
            *kinds.entry(target).or_default() += 1;
        }
        kinds
    }

    #[test]
    fn everything_stays_but_the_program() {
        let options = [
            "--port=127.0.0.1:PORT",
            "--path=DIR/a.sock",
            "--pid-file=DIR/pid",
            "--log-file=| cat >>DIR/log",
        ];
        let s = setup(&options).log("log").sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let pid_file = s.read("pid");
        // What we got from our parent and did not want goes with the first one.
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 1);
        let before = s.process().descriptors();
        for count in 2..=4 {
            replace(&s, NEXT);
            let pid = format!("(pid:{})\n", s.process());
            let done = s.command(&UPGRADE);
            let version = env!("CARGO_PKG_VERSION");
            done.expect(0, &[]);
            let said = format!("upgraded from {version} to {version} {pid}");
            assert_eq!(done.stdout, said);
            wait_upgrades(&s, count);
        }
        let program = s.process().executable();
        assert_eq!(
            program,
            Some(s.path("start_server")),
            "and not a deleted file"
        );
        assert_eq!(s.wait_generation(1), worker, "the same process, untouched");
        assert_eq!(s.read("pid"), pid_file);
        s.settle();
        let after = s.process().descriptors();
        assert_eq!(after.len(), before.len(), "{before:?} {after:?}");
        for fd in [3, 4] {
            assert_eq!(
                after.get(&fd),
                before.get(&fd),
                "sockets stay on their numbers"
            );
        }
        // The lock of the pid file is held.
        let second = s.command(&["--pid-file=DIR/pid", "--", "sleep", "1000"]);
        second.expect(1, &["is locked by a running supervisor"]);

        s.hup();
        s.wait_line(&format!("old worker {worker} died, status:15"));
        let next = s.wait_generation(2);
        let variable = next.variable("START_SERVER_STATE");
        assert_eq!(variable, None, "that is between us");
        assert!(!worker_sees_ours(&s, next));
        s.stop();
        for file in ["pid", "a.sock", "control", "status"] {
            assert!(!s.path(file).exists(), "{file}");
        }
    }

    /// Whether a worker has a descriptor that is not its own: more than its streams, its sockets and
    /// what a shell opens.
    fn worker_sees_ours(s: &Supervisor, worker: Process) -> bool {
        let ours = open_files(s.process());
        let theirs = worker.descriptors();
        theirs
            .iter()
            .any(|(number, target)| *number > 4 && ours.contains_key(target))
    }

    #[test]
    fn by_usr2() {
        let s = setup(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        for count in 1..=2 {
            s.signal(Signal::SIGUSR2);
            wait_upgrades(&s, count);
        }
        assert_eq!(s.wait_generation(1), worker);
        s.wait_said("received USR2, upgrading this program");
        s.stop();
    }

    /// A worker that was killed takes the requests with it that it had accepted. So they are told to
    /// leave here, by somebody else than the supervisor, for which that is no less of a surprise.
    #[test]
    fn twenty_upgrades_twenty_reloads_and_five_deaths_under_load() {
        let options = ["--interval=0.05", "--port=127.0.0.1:PORT"];
        let s = setup(&options).program(["--"]).program([hello()]).start();
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 1);
        let descriptors = s.process().descriptors().len();
        let mut generation = 1;
        under_load(&s.client(), || {
            for round in 1..=20 {
                replace(&s, NEXT);
                s.process().signal(Signal::SIGUSR2);
                wait_upgrades(&s, 1 + round);
                s.process().signal(Signal::SIGHUP);
                generation += 1;
                let worker = s.wait_generation(generation);
                if round % 4 == 0 {
                    worker.signal(Signal::SIGTERM);
                    generation += 1;
                    s.wait_generation(generation);
                }
            }
        });
        assert_eq!(generation, 26);
        assert_eq!(s.client().hello(), (26, s.wait_generation(26)));
        s.eventually("no descriptor has leaked", || {
            s.process().descriptors().len() == descriptors
        });
        assert!(s.lines().iter().all(|line| !line.contains("refused")));
        s.stop();
    }

    /// The two at once: the exec of one comes while the other's worker is on its way.
    #[test]
    fn upgrades_and_reloads_at_the_same_time() {
        let options = ["--ready=notify", "--port=127.0.0.1:PORT"];
        let s = setup(&options).sh(GRACEFUL).spawn();
        let first = s.wait_up(1);
        Voice::of(first).say("READY=1");
        s.wait_generation(1);
        let restart = s.spawn_command(&["--restart", CONTROL]);
        let second = s.wait_up(2);
        s.command(&UPGRADE).expect(0, &[]);
        Voice::of(second).say("STATUS=still here\nREADY=1");
        let restart = restart.wait();
        let alone = ["generation 2: worker ", "generation 2 is alone"];
        restart.expect(0, &alone);
        assert_eq!(s.wait_generation(2), second);
        s.stop();
    }

    #[test]
    fn timers_go_on() {
        let options = ["--kill-old-delay=2", "--stop-timeout=1"];
        let s = setup(&options).sh(crate::harness::STUBBORN).start();
        let first = s.wait_generation(1);
        s.hup();
        s.wait_generations(&[1, 2]);
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 1);
        s.wait_line("killing old workers");
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 2);
        s.wait_line(&format!("old worker {first} died, status:9"));
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn a_release_that_will_not_do_is_refused_and_nothing_happens() {
        let s = setup(&["--port=127.0.0.1:PORT"])
            .program(["--"])
            .program([hello()]);
        let s = s.start();
        let (pid, worker) = (s.process(), s.wait_generation(1));
        let usage = "error: unexpected argument ''\\''--try-state'\\'' found";
        let cases = [
            (
                script("echo oops; kill -SEGV $$"),
                "has failed its trial (killed by SEGV): oops",
            ),
            (
                script("exit 0"),
                "has not said that it understands our state",
            ),
            (
                script(&format!("echo \"{usage}\" >&2; exit 2")),
                "(exit code 2): error: unexpected",
            ),
            // No program, and given to no shell either.
            (
                "echo \"touch $PWD/ran\" >next".to_owned(),
                "Exec format error",
            ),
            (
                "echo '#!/nonexistent/interpreter' >next".to_owned(),
                "No such file or directory",
            ),
            (
                "rm -f start_server; mkdir -p next".to_owned(),
                "Permission denied",
            ),
        ];
        for (by, reason) in cases {
            replace(&s, &by);
            s.command(&UPGRADE)
                .expect(1, &["upgrade refused, nothing has changed", reason]);
            assert_eq!(s.client().hello(), (1, worker), "{by}");
        }
        assert!(!s.path("ran").exists());
        let gone = std::fs::remove_dir(s.path("start_server"));
        gone.unwrap();
        s.command(&UPGRADE)
            .expect(1, &["cannot find ", "No such file or directory"]);

        // One that may not be executed. The shell's chmod comes before ours.
        replace(&s, NEXT);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(s.path("start_server"), mode).unwrap();
        s.command(&UPGRADE)
            .expect(1, &["failed to exec ", "Permission denied"]);

        replace(&s, NEXT);
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!((s.process(), s.client().hello()), (pid, (1, worker)));
        s.stop();
    }

    /// It passes its trial and is another file by the time it is wanted: that one is tried, too.
    #[test]
    fn what_is_replaced_after_its_trial_is_tried_again() {
        let s = setup(&[]).sh(SLEEPS).start();
        replace(&s, &script("exit 1"));
        let real = put_real(&s);
        let trap = format!(
            "cp start_server bad; cp real new; chmod 755 new; mv new start_server; \
             exec {} \"$@\"",
            real.display()
        );
        replace(&s, &script(&trap));
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(upgrades(&s), 1);
        let trials = s
            .lines()
            .iter()
            .filter(|l| l.starts_with("upgrade: trying "))
            .count();
        assert_eq!(trials, 2);
        s.stop();
    }

    #[test]
    fn one_that_hangs_is_given_up_in_the_end() {
        let s = setup(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        replace(&s, &script("exec sleep 1000"));
        // Who comes while it is tried gets the same answer.
        let first = s.spawn_command(&UPGRADE);
        s.wait_line_starting("upgrade: trying ");
        let second = s.spawn_command(&UPGRADE);
        let busy = ["was still busy after 10 s"];
        first.wait().expect(1, &busy);
        second.wait().expect(1, &busy);
        s.eventually("it has been killed", || s.survivors() == [worker]);
        s.stop();
    }

    #[test]
    fn a_stop_is_not_kept_waiting_by_it() {
        let s = setup(&[]).sh(SLEEPS).start();
        replace(&s, &script("exec sleep 1000"));
        let upgrade = s.spawn_command(&UPGRADE);
        s.wait_line_starting("upgrade: trying ");
        s.process().signal(Signal::SIGTERM);
        upgrade.wait().expect(3, &[]);
        s.expect_exit(0); // and leaves nobody
    }

    #[test]
    fn a_stop_under_way_leaves_no_time_for_one() {
        let s = setup(&[]).sh(crate::harness::STUBBORN).start();
        let worker = s.wait_generation(1);
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{worker}"
        ));
        s.command(&UPGRADE).expect(3, &["has been told to stop"]);
        s.wait_line("no upgrade any more: everything is being stopped");
        let tried = s.lines().iter().any(|line| line.contains("trying"));
        assert!(!tried);
        worker.signal(Signal::SIGKILL);
        s.expect_exit(0);
    }

    #[test]
    fn a_daemon() {
        let options = ["--daemonize", "--log-file=DIR/log", "--pid-file=DIR/pid"];
        let (done, s) = setup(&options).log("log").sh(SLEEPS).daemonize();
        done.expect(0, &[]);
        let worker = s.wait_generation(1);
        replace(&s, NEXT);
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(s.wait_generation(1), worker);
        std::fs::rename(s.path("log"), s.path("log.1")).unwrap();
        s.signal(Signal::SIGUSR1);
        eventually("the log is opened anew", || s.path("log").exists());
        s.stop();
    }

    #[test]
    fn the_first_process_of_a_container() {
        if !have_pid_namespaces() {
            return;
        }
        let s = setup(&[]).sh(GRACEFUL).process_1().start();
        s.wait_generation(1);
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 1);
        s.signal(Signal::SIGHUP);
        s.wait_generation(2);
        s.stop();
    }

    /// The last good reading of an envdir that is not there just now.
    #[test]
    fn what_an_envdir_said_is_remembered() {
        let setup = setup(&["--envdir=DIR/env"]).file("env/COLOUR", "red\n");
        let s = setup.sh(SLEEPS).start();
        s.wait_generation(1);
        std::fs::rename(s.path("env"), s.path("away")).unwrap();
        s.command(&UPGRADE).expect(0, &[]);
        s.hup();
        let worker = s.wait_generation(2);
        assert_eq!(worker.variable("COLOUR").as_deref(), Some("red"));
        s.stop();
    }

    #[test]
    fn an_envdir_s_settings_stay_in_force_and_its_changes_are_seen() {
        let setup = setup(&["--envdir=DIR/env", "--kill-old-delay=0"]);
        let setup = setup.file("env/AUTO_RESTART_INTERVAL", "3\n");
        let s = setup
            .file("env/ENABLE_AUTO_RESTART", "1\n")
            .sh(SLEEPS)
            .start();
        s.wait_generation(1);
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 1);
        let newest = || s.status().last().map_or(0, |(generation, _)| *generation);
        s.eventually("it goes on by the interval", || newest() >= 2); // and nothing else has happened
        std::fs::remove_file(s.path("env/ENABLE_AUTO_RESTART")).unwrap();
        s.signal(Signal::SIGUSR2);
        wait_upgrades(&s, 2);
        s.write("env/AUTO_RESTART_INTERVAL", "0.2\n");
        s.write("env/ENABLE_AUTO_RESTART", "1\n");
        let before = newest();
        s.eventually("it goes on by the new one", || newest() >= before + 2);
        std::fs::remove_file(s.path("env/ENABLE_AUTO_RESTART")).unwrap();
        s.process().signal(Signal::SIGTERM);
        s.expect_exit(0);
    }

    /// The soft limit of open files is raised for ourselves alone, whoever of us did that.
    #[test]
    fn workers_have_the_limits_that_they_had() {
        let s = setup(&[]).before("ulimit -Sn 77").sh(SLEEPS).start();
        s.wait_generation(1);
        s.command(&UPGRADE).expect(0, &[]);
        s.hup();
        assert_eq!(open_files_allowed(s.wait_generation(2)), "77");
        s.stop();
    }

    /// Nor does it undo what somebody wants for workers to come, prlimit(1).
    #[test]
    fn workers_have_the_limits_that_somebody_has_set_since() {
        let s = setup(&[]).before("ulimit -Sn 77").sh(SLEEPS).start();
        s.wait_generation(1);
        let mut prlimit = Command::new("prlimit");
        prlimit.args([format!("--pid={}", s.process()), "--nofile=99:".to_owned()]);
        if !prlimit.status().is_ok_and(|status| status.success()) {
            skipped("prlimit(1) is needed");
            return s.stop();
        }
        for _ in 0..2 {
            s.command(&UPGRADE).expect(0, &[]);
        }
        s.hup();
        assert_eq!(open_files_allowed(s.wait_generation(2)), "99");
        s.stop();
    }

    fn open_files_allowed(worker: Process) -> String {
        let limits = worker.read("limits");
        let mut lines = limits.lines();
        let open = lines.find(|line| line.starts_with("Max open files"));
        open.unwrap().split_whitespace().nth(3).unwrap().to_owned()
    }

    /// As the loader does of a library in LD_PRELOAD that is not there.
    #[test]
    fn a_warning_before_its_word_is_no_refusal() {
        let s = setup(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let real = put_real(&s);
        let warns = format!("echo a warning >&2; exec {} \"$@\"", real.display());
        replace(&s, &script(&warns));
        s.command(&UPGRADE).expect(0, &[]);
        assert_eq!(s.wait_generation(1), worker);
        s.stop();
    }

    /// Its trial would go well. After exec it is no child of the supervisor's, which is a shell by then.
    #[test]
    fn a_script_that_does_not_exec_the_release_is_refused() {
        let s = setup(&[]).sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        let real = put_real(&s);
        replace(&s, &script(&format!("{} \"$@\"; exit $?", real.display())));
        s.command(&UPGRADE).expect(1, &["has to exec it"]);
        assert_eq!(s.wait_generation(1), worker);
        s.stop();
    }

    /// Lines that wait for a slow reader are written by one program or by the next.
    #[test]
    fn no_line_is_written_twice() {
        const CALLS: usize = 3000;
        const CALL: &[u8] = b"{\"method\":\"org.serverstarter.Supervisor.Upgrade\"}\0";
        let s = setup(&[]).before("mkfifo lines; exec 2<>lines");
        let s = s.sh(SLEEPS).start();
        let mut lines = File::open(s.path("lines")).unwrap();
        // Two lines each, far more than the fifo takes.
        std::fs::rename(s.path("start_server"), s.path("away")).unwrap();
        let mut client = BufReader::new(UnixStream::connect(s.path("control")).unwrap());
        for _ in 0..CALLS {
            client.get_mut().write_all(CALL).unwrap();
            assert_ne!(client.read_until(0, &mut Vec::new()).unwrap(), 0);
        }
        std::fs::rename(s.path("away"), s.path("start_server")).unwrap();

        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut buffer = [0; 512];
            while let Ok(read @ 1..) = lines.read(&mut buffer) {
                text.extend_from_slice(&buffer[..read]);
                if !hurries.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1)); // slow is what it is to be
                }
            }
            String::from_utf8(text).unwrap()
        });
        let upgraded = s.command(&UPGRADE);
        hurry.store(true, Ordering::Relaxed);
        upgraded.expect(0, &[]);
        s.stop();
        let text = reader.join().unwrap();
        let count = |of: &str| text.lines().filter(|line| line.starts_with(of)).count();
        assert_eq!(count("upgrade refused"), CALLS);
        assert_eq!(count("asked to upgrade"), CALLS + 1);
        assert_eq!(count("start_server (pid:"), 2);
    }
}
