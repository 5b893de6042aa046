//! What is not taken over from a supervisor that was killed: workers that cannot be replaced, that the kernel does not
//! hand out, or that the status file does not name. They serve on, and the error or the log says what to do.

mod extensions {
    use std::process::{Command, Stdio};

    use nix::sys::signal::Signal;
    use server_starter_testing::workers::{FAILS_ON_DEMAND, SLEEPS};
    use server_starter_testing::{other_user_is_available, skipped};

    use crate::fixtures::{NOTIFY, bare_supervisor, start, supervisor};
    use crate::takeover::{PORT, wait_old_died};

    #[test]
    fn workers_serve_on_when_the_first_generation_fails_and_the_next_start_takes_them_over() {
        let options = [
            PORT,
            "--path=DIR/a.sock",
            "--interval=0.3",
            "--start-attempts=2",
            "--stop-timeout=1",
        ];
        let mut s = start(&options, FAILS_ON_DEMAND);
        let old = s.wait_generation(1);
        s.kill();
        s.write("fail", "");
        s.start_again();
        s.wait_line("giving up after 2 attempts, generation 1 keeps serving");
        s.wait_line(&format!("without a supervisor serve on:{old}"));
        assert_eq!(s.wait_exit().code(), Some(1));
        assert!(old.is_alive());
        assert_eq!(s.status(), [(1, old)]);
        assert!(s.path("a.sock").exists());

        std::fs::remove_file(s.path("fail")).unwrap();
        s.start_again();
        s.wait_generation(2);
        wait_old_died(&s, old);
        s.stop();
        assert!(!s.path("a.sock").exists());
    }

    #[test]
    fn workers_serve_on_when_the_log_command_of_the_next_daemon_ends_at_once() {
        let log = "--log-file=| if [ -e DIR/broken ]; then exit 1; fi; exec cat >>DIR/log";
        let options = [
            "--daemonize",
            log,
            "--pid-file=DIR/pid",
            "--interval=1",
            PORT,
        ];
        let (_, mut s) = supervisor(&options).log("log").sh(SLEEPS).daemonize();
        let old = s.wait_generation(1);
        s.kill();
        s.write("broken", "");
        let refused = s.start_daemon_that_fails();
        refused.expect(1, &["the log command ended"]);
        assert!(old.is_alive());
        assert_eq!(s.status(), [(1, old)]);

        std::fs::remove_file(s.path("broken")).unwrap();
        s.start_again();
        s.wait_generation(2);
        wait_old_died(&s, old);
        s.stop();
    }

    #[test]
    fn a_start_that_cannot_be_made_leaves_the_workers_and_their_files_alone() {
        let mut s = start(&[PORT, "--path=DIR/a.sock"], SLEEPS);
        let old = s.wait_generation(1);
        s.kill();
        let options = ["--status-file=DIR/status", PORT, "--path=DIR/a.sock"];
        for (more, worker, why) in [
            (
                "--interval=0",
                "/nonexistent",
                "failed to exec /nonexistent",
            ),
            (
                "--control=/nonexistent/control",
                "/bin/true",
                "/nonexistent/control",
            ),
        ] {
            let arguments = [&options[..], &[more, "--", worker]].concat();
            s.command(&arguments).expect(1, &[why]);
            assert!(old.is_alive());
            assert_eq!(s.status(), [(1, old)]);
            assert!(s.path("a.sock").exists());
        }
        s.start_again();
        s.wait_generation(2);
        wait_old_died(&s, old);
        s.stop();
    }

    #[test]
    fn a_worker_that_has_closed_the_socket_is_left_alone() {
        let mut s = start(&[PORT], "exec 3<&-; up; exec sleep 1000");
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_line(&format!(
            "process {old}, generation 1 in the status file, is left alone: it listens on no address"
        ));
        s.wait_generation(1);
        assert!(old.is_alive());
        s.hup();
        s.wait_generation(2);
        assert!(old.is_alive());
        old.signal(Signal::SIGKILL);
        s.stop();
    }

    #[test]
    fn a_worker_that_was_not_ready_yet_is_left_alone_and_named() {
        let mut s = supervisor(&[PORT, NOTIFY[0], NOTIFY[1]]).sh(SLEEPS).spawn();
        s.wait_notifying(1).1.send("READY=1");
        let old = s.wait_generation(1);
        s.hup();
        let lost = s.wait_up(2);
        s.settle();
        s.kill_and_start_again();
        s.wait_line_starting("taking over 1 worker of a supervisor that was killed: 1:");
        s.wait_line(&format!(
            "process {lost} (sleep) holds a socket that was taken over, and"
        ));
        s.wait_notifying(3).1.send("READY=1");
        wait_old_died(&s, old);
        s.wait_generation(3);
        assert!(lost.is_alive());
        lost.signal(Signal::SIGKILL);
        s.stop();
    }

    #[test]
    fn without_a_status_file_the_error_names_who_holds_the_address() {
        let mut s = bare_supervisor(&["--interval=0", PORT]).sh(SLEEPS).spawn();
        let old = s.wait_up(1);
        s.settle();
        s.kill_and_start_again();
        s.wait_line_starting("start_server: failed to bind to 127.0.0.1:");
        assert_eq!(s.wait_exit().code(), Some(1));
        let held =
            format!("held by process {old} (sleep): a worker of a supervisor that was killed.");
        assert!(s.log().contains(&held), "{}", s.log());
        assert!(
            s.log().contains(&format!("kill -TERM {old}")),
            "{}",
            s.log()
        );
        assert!(old.is_alive());
    }

    /// A worker of another user, and a supervisor without CAP_SYS_PTRACE; Yama and seccomp say no in the same way.
    #[test]
    fn worker_that_must_not_be_inspected_is_left_alone_and_named() {
        if !other_user_is_available() {
            return;
        }
        let mut s = supervisor(&[PORT, "--user=4242", "--group=4242"])
            .before("set -- setpriv --bounding-set=-sys_ptrace \"$@\"")
            .program(["--", "sleep", "1000"])
            .start();
        let old = s.wait_generation(1);
        s.kill_and_start_again();
        s.wait_line_starting("start_server: failed to bind to 127.0.0.1:");
        assert_eq!(s.wait_exit().code(), Some(1));
        for words in [
            "cannot be taken over (",
            "Permission denied)",
            &format!("kill -TERM {old}"),
        ] {
            assert!(s.log().contains(words), "{words}: {}", s.log());
        }
        assert!(old.is_alive());
        assert_eq!(s.status(), [(1, old)]);
    }

    /// Runs a program in which pidfd_getfd(2) fails with this errno.
    const FILTER: &str = r#"
import ctypes, os, struct, sys
prctl = ctypes.CDLL(None, use_errno=True).prctl
def step(code, true, false, value): return struct.pack("HBBI", code, true, false, value)
# the number of the call; is it pidfd_getfd, 438 on all architectures? fail, or allow
program = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 438) + step(6, 0, 0, 0x50000 | int(sys.argv[1])) + step(6, 0, 0, 0x7FFF0000)
memory = ctypes.create_string_buffer(program)
filter = struct.pack("HL", 4, ctypes.addressof(memory))
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"#;

    #[test]
    fn a_kernel_that_hands_out_no_descriptors_is_named() {
        if Command::new("python3")
            .arg("-V")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            return skipped("to filter system calls needs python3");
        }
        for (errno, why) in [
            (1, "Operation not permitted"),
            (38, "Function not implemented"),
        ] {
            let mut s = supervisor(&[PORT])
                .file("filter.py", FILTER)
                .before(&format!("set -- python3 filter.py {errno} \"$@\""))
                .program(["--", "sleep", "1000"])
                .start();
            let old = s.wait_generation(1);
            s.kill_and_start_again();
            let failed = s.wait_line_starting("start_server: failed to bind to 127.0.0.1:");
            assert_eq!(s.wait_exit().code(), Some(1));
            let forbidden = format!("cannot be taken over (pidfd_getfd: {why})");
            let remedy = format!("kill -TERM {old}");
            assert!(
                failed.contains(&forbidden) && failed.ends_with(&remedy),
                "{failed}"
            );
            assert!(old.is_alive());
        }
    }
}
