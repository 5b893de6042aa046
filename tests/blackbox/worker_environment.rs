//! The environment of a worker: variables, descriptors, signals, limits, directory, parent.

use std::fs::{self, File};

use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{Process, exports};

use crate::fixtures::{start, supervisor};

/// The descriptors that the test itself inherited and passes on; a worker may have them, too.
fn inherited() -> Vec<i32> {
    const O_CLOEXEC: i32 = 0o2_000_000;
    let me = Process(std::process::id().try_into().unwrap());
    let passed_on = |fd: &i32| {
        me.descriptor_flags(*fd)
            .is_some_and(|flags| flags & O_CLOEXEC == 0)
    };
    me.descriptors().into_keys().filter(passed_on).collect()
}

#[test]
fn generation_counts_from_1() {
    let s = start(&[], SLEEPS);
    for generation in 1..=3 {
        let worker = s.wait_generation(generation);
        assert_eq!(
            worker.variable("SERVER_STARTER_GENERATION"),
            Some(generation.to_string())
        );
        s.hup();
    }
    s.wait_generation(4);
    s.stop();
}

#[test]
fn environment_is_passed_on() {
    let s = supervisor(&[])
        .env("GREETING", "hello = there; you")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(
        worker.variable("GREETING").as_deref(),
        Some("hello = there; you")
    );
    assert_eq!(worker.variable("PATH"), std::env::var("PATH").ok());
    s.stop();
}

#[test]
fn worker_is_a_direct_child() {
    let s = start(&[], SLEEPS);
    assert_eq!(s.wait_generation(1).parent(), Some(s.process()));
    assert_eq!(s.process().children(), [s.wait_generation(1)]);
    s.stop();
}

#[test]
fn worker_has_its_own_descriptors_only() {
    let options = [
        "--port=127.0.0.1:PORT",
        "--path=DIR/a.sock",
        "--pid-file=DIR/pid",
    ];
    let s = supervisor(&options)
        .program(["--", "sleep", "1000"])
        .start();
    s.hup();
    let worker = s.wait_generation(2);
    s.settle();
    let mut expected = vec![0, 1, 2];
    expected.extend(exports(worker).iter().map(|(_, fd, _)| *fd));
    expected.extend(inherited());
    expected.sort_unstable();
    expected.dedup();
    let found: Vec<i32> = worker.descriptors().into_keys().collect();
    let surplus: Vec<_> = found.iter().filter(|fd| !expected.contains(fd)).collect();
    assert!(
        surplus.is_empty(),
        "{surplus:?} of {:#?}",
        worker.descriptors()
    );
    s.stop();
}

#[test]
fn standard_input_is_inherited() {
    let builder = supervisor(&[])
        .file("input", "one\ntwo\n")
        .sh("read line; echo \"$line\" >\"$DIR/line\"; up; exec sleep 1000");
    let input = File::open(builder.path("input")).unwrap();
    let s = builder.stdin(input).start();
    assert_eq!(s.read("line"), "one\n");
    assert_eq!(
        s.wait_generation(1).descriptors()[&0],
        s.path("input").display().to_string()
    );
    s.stop();
}

#[test]
fn output_goes_where_that_of_the_supervisor_goes() {
    let s = start(
        &[],
        "echo to standard output; echo to standard error >&2; up; exec sleep 1000",
    );
    s.wait_output("to standard error");
    assert_eq!(s.read("stdout"), "to standard output\n");
    s.stop();
}

#[test]
fn signal_mask_is_empty() {
    let s = supervisor(&[]).program(["--", "sleep", "1000"]).start();
    let worker = s.wait_generation(1);
    s.settle();
    assert_eq!(worker.signal_set("SigBlk"), Some(0));
    s.stop();
}

#[test]
fn umask_and_limits_are_inherited() {
    let s = supervisor(&[])
        .before("umask 037; ulimit -n 77; ulimit -c 0")
        .sh(SLEEPS)
        .start();
    let worker = s.wait_generation(1);
    assert_eq!(worker.status("Umask").as_deref(), Some("0037"));
    let limits = worker.read("limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("77"), "{files}");
    s.stop();
}

#[test]
fn umask_is_inherited_with_a_path() {
    let s = supervisor(&["--path=DIR/a.sock", "--pid-file=DIR/pid"])
        .before("umask 027")
        .sh(SLEEPS)
        .start();
    assert_eq!(
        s.wait_generation(1).status("Umask").as_deref(),
        Some("0027")
    );
    s.stop();
}

#[test]
fn worker_starts_in_the_directory_of_the_supervisor() {
    let s = start(&[], SLEEPS);
    let here = fs::canonicalize(s.path(".")).unwrap();
    assert_eq!(s.wait_generation(1).directory(), Some(here));
    s.stop();
}

#[test]
fn dir_is_resolved_at_each_start() {
    let builder = supervisor(&["--dir=DIR/current", "--signal-on-hup=KILL"])
        .executable("v1/server", "#!/bin/sh\necho \"v1 $SERVER_STARTER_GENERATION\" >>\"$DIR/versions\"\nexec sleep 1000\n")
        .executable("v2/server", "#!/bin/sh\necho \"v2 $SERVER_STARTER_GENERATION\" >>\"$DIR/versions\"\nexec sleep 1000\n")
        .before("ln -s v1 current")
        .program(["--", "./server"]);
    let s = builder.start();
    s.eventually("the first version runs", || s.read("versions") == "v1 1\n");
    let here = fs::canonicalize(s.path("v1")).unwrap();
    assert_eq!(s.wait_generation(1).directory(), Some(here));
    fs::remove_file(s.path("current")).unwrap();
    std::os::unix::fs::symlink("v2", s.path("current")).unwrap();
    s.hup();
    s.eventually("the second version runs", || {
        s.read("versions") == "v1 1\nv2 2\n"
    });
    s.stop();
}

#[test]
fn supervisor_does_not_change_its_directory() {
    let s = supervisor(&["--dir=DIR/elsewhere", "--pid-file=pid"])
        .file("elsewhere/x", "")
        .sh(SLEEPS)
        .start();
    assert_eq!(
        s.process().directory(),
        Some(fs::canonicalize(s.path(".")).unwrap())
    );
    assert!(s.path("pid").exists());
    s.stop();
    assert!(!s.path("pid").exists());
}

#[test]
fn signals_are_sent_to_the_worker_and_not_to_its_group() {
    let worker = "sleep 1000 & echo $! >\"$DIR/child\"; up; wait";
    let s = start(&[], worker);
    let first = s.wait_generation(1);
    let child = Process(s.read("child").trim().parse().unwrap());
    s.hup();
    s.wait_line(&format!("old worker {first} died, status:15"));
    assert!(child.is_alive(), "the worker's own child was signalled too");
    s.wait_up(2);
    s.term();
    assert_eq!(s.wait_exit().code(), Some(0));
    assert!(child.is_alive(), "the worker's own child was signalled too");
}

/// As in execvp(3).
#[test]
fn script_without_an_interpreter_is_run_by_the_shell() {
    let script = "echo \"$0 $*\" >>\"$DIR/said\"\nexec sleep 1000\n";
    for (name, found) in [
        ("DIR/bin/web", "/bin/web a  b\n"),
        ("web", "/bin/web a  b\n"),
    ] {
        let builder = supervisor(&[]).executable("bin/web", script);
        let path = format!("{}:/usr/bin:/bin", builder.path("bin").display());
        let name = name.replace("DIR", &builder.path("").display().to_string());
        let builder = builder.env("PATH", path).program(["--", &name, "a  b"]);
        let s = builder.spawn();
        s.eventually("the script runs", || s.read("said").ends_with(found));
        s.stop();
    }
}

mod extensions {
    use nix::sys::signal::Signal;
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{Process, SupervisorBuilder, exports, skipped};

    use crate::fixtures::supervisor;

    /// The ignored, caught and blocked signals of a worker.
    fn dispositions(builder: SupervisorBuilder) -> (Option<u64>, Option<u64>, Option<u64>) {
        let s = builder.program(["--", "sleep", "1000"]).start();
        let worker: Process = s.wait_generation(1);
        s.settle();
        let sets = (
            ignored(worker),
            worker.signal_set("SigCgt"),
            worker.signal_set("SigBlk"),
        );
        s.stop();
        sets
    }

    /// Without signals 32 and 33, which posix_spawn(3) of glibc leaves ignored.
    fn ignored(worker: Process) -> Option<u64> {
        let internal = 0b11 << 31;
        worker.signal_set("SigIgn").map(|set| set & !internal)
    }

    /// A set of signals as in /proc/PID/status.
    fn set(signals: &[Signal]) -> u64 {
        signals.iter().map(|s| 1 << (*s as i32 - 1)).sum()
    }

    #[test]
    fn worker_of_a_plain_supervisor_ignores_and_blocks_no_signal() {
        assert_eq!(dispositions(supervisor(&[])), (Some(0), Some(0), Some(0)));
    }

    #[test]
    fn signals_ignored_at_the_start_are_ignored_in_workers() {
        // sh does not pass on an ignored SIGCHLD; env(1) does.
        let ignore = "trap '' PIPE HUP INT QUIT USR1 USR2 ALRM TSTP";
        let ignore_too = "set -- env --ignore-signal=CHLD \"$@\"";
        let ignoring = supervisor(&[]).before(&format!("{ignore}; {ignore_too}"));
        let ignored = [
            Signal::SIGPIPE,
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGCHLD,
            Signal::SIGALRM,
            Signal::SIGTSTP,
        ];
        assert_eq!(
            dispositions(ignoring),
            (Some(set(&ignored)), Some(0), Some(0))
        );
    }

    #[test]
    fn signals_blocked_at_the_start_are_blocked_in_workers() {
        let block = "env --block-signal=HUP,INT,CHLD,USR1";
        let available = format!("{block} true");
        let mut try_it = std::process::Command::new("/bin/sh");
        if !try_it
            .args(["-c", &available])
            .output()
            .unwrap()
            .status
            .success()
        {
            skipped("blocked signals need an env(1) with --block-signal");
            return;
        }
        let blocked = set(&[
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGCHLD,
            Signal::SIGUSR1,
        ]);
        let builder = supervisor(&[]).before(&format!("set -- {block} \"$@\""));
        let s = builder.program(["--", "sleep", "1000"]).start();
        s.settle();
        assert_eq!(s.wait_generation(1).signal_set("SigBlk"), Some(blocked));
        s.hup();
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn worker_started_after_an_upgrade_has_the_dispositions_of_the_start() {
        let builder = supervisor(&[]).before("trap '' PIPE USR1");
        let s = builder.program(["--", "sleep", "1000"]).start();
        s.wait_generation(1);
        s.signal(Signal::SIGUSR2);
        s.wait_line_starting(&format!("start_server (pid:{}) upgraded", s.process().0));
        s.hup();
        let worker = s.wait_generation(2);
        s.settle();
        let expected = set(&[Signal::SIGPIPE, Signal::SIGUSR1]);
        assert_eq!(ignored(worker), Some(expected));
        assert_eq!(worker.signal_set("SigBlk"), Some(0));
        s.stop();
    }

    #[test]
    fn file_size_limit_of_zero_does_not_kill_the_supervisor_before_its_first_line() {
        // Standard error is a file that may not grow.
        let s = supervisor(&["--port=127.0.0.1:PORT"])
            .before("ulimit -f 0; exec 2>>stderr.limited")
            .program(["--", "sleep", "1000"])
            .spawn();
        s.eventually("a worker runs", || s.process().children().len() == 1);
        s.stop();
    }

    #[test]
    fn ignored_hup_still_reloads() {
        let s = supervisor(&[])
            .before("trap '' HUP CHLD")
            .sh(SLEEPS)
            .start();
        s.hup();
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn inherited_descriptors_are_not_passed_on() {
        let builder = supervisor(&["--port=127.0.0.1:PORT"]).before("exec 7</dev/null 9>/dev/null");
        let s = builder.program(["--", "sleep", "1000"]).start();
        let worker = s.wait_generation(1);
        s.settle();
        assert_eq!(exports(worker)[0].1, 3);
        let descriptors: Vec<i32> = worker.descriptors().into_keys().collect();
        assert_eq!(descriptors, [0, 1, 2, 3], "{:#?}", worker.descriptors());
        s.stop();
    }

    #[test]
    fn variables_that_are_not_utf8_are_passed_on() {
        use std::os::unix::ffi::OsStringExt;
        let value = std::ffi::OsString::from_vec(b"caf\xe9".to_vec());
        let s = supervisor(&[])
            .env("LATIN", value)
            .sh("printf %s \"$LATIN\" >\"$DIR/latin\"; up; exec sleep 1000")
            .start();
        assert_eq!(std::fs::read(s.path("latin")).unwrap(), b"caf\xe9");
        s.stop();
    }

    #[test]
    fn variables_of_an_outer_supervisor_are_not_passed_on() {
        let builder = supervisor(&[])
            .env("SERVER_STARTER_PORT", "80=3")
            .env("SERVER_STARTER_GENERATION", "7");
        let s = builder.sh(SLEEPS).start();
        let worker = s.wait_generation(1);
        assert_eq!(worker.variable("SERVER_STARTER_PORT").as_deref(), Some(""));
        assert_eq!(
            worker.variable("SERVER_STARTER_GENERATION").as_deref(),
            Some("1")
        );
        let twice: Vec<String> = worker
            .environ()
            .into_iter()
            .filter(|e| e.starts_with("SERVER_STARTER_"))
            .collect();
        assert_eq!(twice.len(), 2, "{twice:?}");
        s.stop();
    }
}
