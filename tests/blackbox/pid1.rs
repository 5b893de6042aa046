//! The supervisor as process 1 of a container: signals from outside arrive, orphans are reaped, and the exit status is
//! that of the container.

use nix::sys::signal::Signal;
use server_starter_testing::workers::GRACEFUL;
use server_starter_testing::{NamespaceProcess, PidNamespace, Supervisor};

use crate::fixtures::supervisor;

/// A supervisor that is process 1 of a namespace; `None` if that is not available.
#[track_caller]
fn start_as_process_1(options: &[&str], worker: &str) -> Option<Supervisor> {
    PidNamespace::is_available().then(|| {
        let builder = supervisor(options).before("mkfifo gate").sh(worker);
        builder.process_1().start()
    })
}

/// A worker that leaves orphans. Each line written to `gate` ends one of them, with status 3.
fn leaves(orphans: usize) -> String {
    format!(
        "(i=0; while [ $i -lt {orphans} ]; do (read go <gate; exit 3) & i=$((i+1)); done); {GRACEFUL}"
    )
}

/// Waits until process 1 has so many children, zombies included; returns them.
#[track_caller]
fn wait_children(s: &Supervisor, count: usize) -> Vec<i32> {
    s.eventually(&format!("process 1 has {count} children"), || {
        s.namespace().children().len() == count
    });
    s.namespace().children()
}

#[track_caller]
fn wait_no_zombies(s: &Supervisor) {
    let zombies = || -> Vec<NamespaceProcess> {
        let processes = s.namespace().processes();
        assert!(processes.iter().any(|it| it.pid == 1), "{processes:?}");
        processes.into_iter().filter(|it| it.state == 'Z').collect()
    };
    s.eventually("no zombie is left", || zombies().is_empty());
}

#[test]
fn term_and_int_stop_the_supervisor() {
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT")] {
        stopped_by(signal, name);
    }
}

/// The signal comes from outside the namespace, as with `docker stop`.
#[track_caller]
fn stopped_by(signal: Signal, name: &str) {
    let Some(s) = start_as_process_1(&[], GRACEFUL) else {
        return;
    };
    let worker = s.wait_generation(1);
    s.signal(signal);
    s.wait_line(&format!(
        "received {name}, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:0"));
    s.wait_line("exiting");
    s.expect_exit(0);
    assert_eq!(s.read("status"), "");
}

#[test]
fn hup_replaces_the_worker() {
    let Some(s) = start_as_process_1(&[], GRACEFUL) else {
        return;
    };
    for generation in 2..5 {
        s.hup();
        s.wait_generation(generation);
    }
    wait_no_zombies(&s);
    wait_children(&s, 1);
    s.stop();
}

#[test]
fn dead_worker_is_replaced() {
    let Some(s) = start_as_process_1(&[], "up; read go <gate; exit 7") else {
        return;
    };
    let worker = s.wait_generation(1);
    s.open_gate("gate");
    s.wait_line(&format!(
        "worker {worker} died unexpectedly with status:1792, restarting"
    ));
    s.wait_generation(2);
    wait_no_zombies(&s);
    s.stop();
}

#[test]
fn stop_does_not_wait_for_orphans() {
    let stubborn = "(trap '' TERM HUP INT; exec sleep 1000) &";
    let Some(s) = start_as_process_1(&[], &format!("({stubborn}); {GRACEFUL}")) else {
        return;
    };
    wait_children(&s, 2);
    s.stop(); // the kernel ends all processes of the namespace
}

mod extensions {
    use std::fs::File;
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;

    use nix::fcntl::OFlag;
    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS, FAILS_ON_DEMAND, GRACEFUL, SLEEPS};
    use server_starter_testing::{Client, PidNamespace, program};

    use super::{leaves, start_as_process_1, wait_children, wait_no_zombies};
    use crate::fixtures::{bare_supervisor, hello, supervisor};

    /// Perl's program takes orphans for workers and logs them.
    #[test]
    fn orphan_is_reaped_and_not_taken_for_a_worker() {
        let Some(s) = start_as_process_1(&[], &leaves(1)) else {
            return;
        };
        let worker = s.wait_generation(1).0;
        let children = wait_children(&s, 2);
        assert!(children.contains(&worker), "{children:?}");
        s.open_gate("gate");
        assert_eq!(wait_children(&s, 1), [worker]);
        // A line about the orphan would have been written before the supervisor sleeps again.
        s.settle();
        assert_eq!(
            s.lines().split_off(1),
            [format!("starting new worker {worker}")],
            "the first line: {:?}",
            s.lines().first()
        );
        assert_eq!(s.wait_generation(1).0, worker);
        s.stop();
    }

    #[test]
    fn many_orphans_that_end_at_once_are_reaped() {
        let Some(s) = start_as_process_1(&[], &leaves(200)) else {
            return;
        };
        s.wait_generation(1);
        wait_children(&s, 201);
        s.hup(); // the next generation leaves as many orphans
        s.wait_generation(2);
        wait_children(&s, 401);
        s.eventually("all orphans have ended", || {
            s.open_gate_if_read("gate");
            s.namespace().children().len() == 1
        });
        wait_no_zombies(&s);
        let died = s.lines().into_iter().filter(|line| line.contains("died"));
        assert_eq!(died.count(), 1, "more than the old worker died");
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn quit_stops_the_supervisor() {
        super::stopped_by(Signal::SIGQUIT, "QUIT");
    }

    #[test]
    fn usr1_reopens_the_log_file() {
        if !PidNamespace::is_available() {
            return;
        }
        let builder = supervisor(&["--log-file=DIR/log"]).sh(GRACEFUL);
        let s = builder.process_1().log("log").start();
        s.wait_generation(1);
        std::fs::rename(s.path("log"), s.path("log.1")).unwrap();
        s.signal(Signal::SIGUSR1);
        s.eventually("the log file exists again", || s.path("log").exists());
        s.term();
        s.wait_line("exiting");
        s.expect_exit(0);
    }

    #[test]
    fn giving_up_is_exit_status_1() {
        if !PidNamespace::is_available() {
            return;
        }
        let builder = supervisor(&["--start-attempts=2", "--ready=notify"]).sh(FAILS);
        let finished = builder.process_1().run();
        finished.expect(1, &["seems to have failed to start, exit status:256"]);
        assert!(finished.survivors().is_empty());
    }

    #[test]
    fn usage_error_is_exit_status_2() {
        if !PidNamespace::is_available() {
            return;
        }
        let builder = supervisor(&["--port=http"]).program(["--", "true"]);
        builder.process_1().run().expect(2, &["http"]);
    }

    #[test]
    fn worker_that_never_becomes_ready_leaves_no_zombie() {
        let Some(s) =
            start_as_process_1(&["--start-attempts=3", "--interval=0.3"], FAILS_ON_DEMAND)
        else {
            return;
        };
        let worker = s.wait_generation(1).0;
        s.write("fail", "");
        s.hup();
        s.wait_line("new worker 3 seems to have failed to start, exit status:256");
        s.eventually("the reload is given up", || {
            s.count("starting new worker") == 4
        });
        s.settle();
        assert_eq!(s.namespace().children(), [worker]);
        wait_no_zombies(&s);
        s.stop();
    }

    /// The kernel drops a signal whose default action would end process 1. So the supervisor must block TERM before
    /// anything can take time: here its first log line, for which the pipe has no room.
    #[test]
    fn early_term_is_not_lost() {
        if !PidNamespace::is_available() {
            return;
        }
        let builder = bare_supervisor(&[])
            .before("mkfifo err; exec 2<>err; dd if=/dev/zero of=err oflag=nonblock bs=4096 2>/dev/null")
            .sh(SLEEPS)
            .process_1();
        let s = builder.spawn();
        s.eventually("the supervisor waits for a reader", || {
            s.process().executable() == Some(program!().path().to_owned())
                && s.process().state() == Some('S')
        });
        s.process().signal(Signal::SIGTERM);
        let mut reader = File::options();
        reader.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut reader = reader.open(s.path("err")).unwrap();
        s.eventually("the supervisor ends", || {
            let _ = reader.read(&mut [0; 65536]);
            s.exited().is_some()
        });
        s.expect_exit(0);
        assert!(s.ups().is_empty(), "a worker was started after TERM");
    }

    /// The words of a line of README.md's Dockerfile.
    fn words_of(instruction: &str) -> Vec<String> {
        let readme = include_str!("../../README.md");
        let line = readme
            .lines()
            .find_map(|line| line.strip_prefix(instruction));
        let list = line.unwrap().trim().trim_matches(['[', ']']);
        let word = |word: &str| word.trim().trim_matches('"').to_owned();
        list.split(',').map(word).collect()
    }

    #[test]
    fn container_of_the_readme_serves_reloads_and_stops() {
        if !PidNamespace::is_available() {
            return;
        }
        let entry = words_of("ENTRYPOINT");
        assert_eq!(entry.first().unwrap(), "start_server");
        assert_eq!(words_of("CMD"), ["/srv/web/bin/web"]);
        let here = |word: &String| {
            word.replace("=8080", "=127.0.0.1:PORT")
                .replace("/run/", "DIR/")
        };
        let mut options: Vec<String> = entry.iter().skip(1).map(here).collect();
        assert_eq!(options.pop().unwrap(), "--");
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let builder =
            supervisor(&options).program([std::ffi::OsString::from("--"), hello().into()]);
        let s = builder.process_1().start();
        assert_eq!(s.client().hello().0, 1);
        let restart = ["--restart", "--control=DIR/control"];
        s.command(&restart).expect(0, &["generation 2 is alone"]);
        assert_eq!(s.client().hello().0, 2);
        s.signal(Signal::SIGTERM);
        s.expect_exit(0);
    }

    /// Container engines pass on sockets that systemd has opened.
    #[test]
    fn inherited_sockets_are_used() {
        if !PidNamespace::is_available() {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let builder = supervisor(&["--port", &address.to_string()])
            .stdin(File::from(OwnedFd::from(listener)))
            .before("exec 3<&0 0</dev/null")
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", "1")
            .program([std::ffi::OsString::from("--"), hello().into()]);
        let s = builder.process_1().start();
        let client = Client::Tcp(address);
        assert_eq!(client.hello().0, 1);
        s.hup();
        s.wait_generation(2);
        assert_eq!(client.hello().0, 2);
        s.stop();
    }
}
