//! The grammar of `--port`, and the variables that name the sockets to a worker. For refused specs see `bad_input`.

use server_starter_testing::workers::SLEEPS;
use server_starter_testing::{Supervisor, exports, have_ipv6};

use crate::fixtures::{start, supervisor};

/// "in use" in the words of glibc, "Address in use" in those of musl.
const IN_USE: &str = "in use";

/// Key and bound address of each export, in the order exported. `PORT`… are not filled in.
#[track_caller]
fn told(s: &Supervisor) -> Vec<(String, String)> {
    exports(s.wait_generation(1))
        .into_iter()
        .map(|(key, _, address)| (key, address))
        .collect()
}

/// The key under which a spec is exported, and the address of its socket.
#[track_caller]
fn check(spec: &str, key: &str, socket: &str) {
    let s = supervisor(&["--port", spec]).sh(SLEEPS).start();
    let fill_in = |text: &str| text.replace("PORT", &s.port(0).to_string());
    assert_eq!(
        told(&s),
        [(fill_in(key), fill_in(socket))],
        "--port={spec:?}"
    );
    s.stop();
}

#[test]
fn port_alone_means_all_ipv4_addresses() {
    check("PORT", "PORT", "tcp 0.0.0.0:PORT");
}

#[test]
fn host_may_be_an_address() {
    check("127.0.0.1:PORT", "127.0.0.1:PORT", "tcp 127.0.0.1:PORT");
}

#[test]
fn host_may_be_a_name() {
    check("localhost:PORT", "localhost:PORT", "tcp 127.0.0.1:PORT");
}

#[test]
fn brackets_around_an_ipv4_address_have_no_effect() {
    check("[127.0.0.1]:PORT", "127.0.0.1:PORT", "tcp 127.0.0.1:PORT");
}

#[test]
fn ipv6_address_is_written_in_brackets() {
    if have_ipv6() {
        check("[::1]:PORT", "[::1]:PORT", "tcp [::1]:PORT");
    }
}

#[test]
fn u_before_the_port_means_udp() {
    check("127.0.0.1:uPORT", "127.0.0.1:PORT", "udp 127.0.0.1:PORT");
    check("uPORT", "PORT", "udp 0.0.0.0:PORT");
    if have_ipv6() {
        check("[::1]:uPORT", "[::1]:PORT", "udp [::1]:PORT");
    }
}

#[test]
fn white_space_around_a_spec_is_ignored() {
    check(" PORT ", "PORT", "tcp 0.0.0.0:PORT");
    check("  127.0.0.1:PORT\t", "127.0.0.1:PORT", "tcp 127.0.0.1:PORT");
    check(" uPORT =9 ", "PORT", "udp 0.0.0.0:PORT");
    check("127.0.0.1:PORT =9 ", "127.0.0.1:PORT", "tcp 127.0.0.1:PORT");
    if have_ipv6() {
        check(" [::1]:PORT ", "[::1]:PORT", "tcp [::1]:PORT");
    }
}

#[test]
fn descriptor_may_be_chosen() {
    let specs = [
        "--port=127.0.0.1:PORT=15",
        "--port=127.0.0.1:uPORT2=9",
        "--port=PORT3=27",
    ];
    let s = supervisor(&specs).sh(SLEEPS).start();
    let (port, port2, port3) = (s.port(0), s.port(1), s.port(2));
    let expected = [
        (
            format!("127.0.0.1:{port}"),
            15,
            format!("tcp 127.0.0.1:{port}"),
        ),
        (
            format!("127.0.0.1:{port2}"),
            9,
            format!("udp 127.0.0.1:{port2}"),
        ),
        (port3.to_string(), 27, format!("tcp 0.0.0.0:{port3}")),
    ];
    assert_eq!(exports(s.wait_generation(1)), expected);
    for fd in [15, 9, 27] {
        s.wait_line(&format!("socket is duplicated to file descriptor {fd}"));
    }
    s.stop();
}

#[test]
fn chosen_and_other_descriptors_mix() {
    let specs = [
        "--port=127.0.0.1:PORT=8",
        "--port=127.0.0.1:PORT2",
        "--path=DIR/a.sock",
    ];
    let s = supervisor(&specs).sh(SLEEPS).start();
    let (port, port2, path) = (s.port(0), s.port(1), s.path("a.sock"));
    let expected = [
        (format!("127.0.0.1:{port}"), format!("tcp 127.0.0.1:{port}")),
        (
            format!("127.0.0.1:{port2}"),
            format!("tcp 127.0.0.1:{port2}"),
        ),
        (
            path.display().to_string(),
            format!("unix {}", path.display()),
        ),
    ];
    assert_eq!(told(&s), expected);
    s.stop();
}

#[test]
fn chosen_descriptor_0_is_standard_input() {
    let s = supervisor(&["--port=127.0.0.1:PORT=0"]).sh(SLEEPS).start();
    let port = s.port(0);
    let expected = [(
        format!("127.0.0.1:{port}"),
        0,
        format!("tcp 127.0.0.1:{port}"),
    )];
    assert_eq!(exports(s.wait_generation(1)), expected);
    s.wait_line("socket is duplicated to file descriptor 0");
    s.hup();
    assert_eq!(exports(s.wait_generation(2)), expected);
    s.stop();
}

#[test]
fn ports_then_paths_are_exported_in_option_order() {
    let specs = [
        "--path=DIR/b.sock",
        "--port=127.0.0.1:PORT2",
        "--path=DIR/a.sock",
        "--port=127.0.0.1:PORT",
        "--port=127.0.0.1:uPORT3",
    ];
    let s = supervisor(&specs).sh(SLEEPS).start();
    let worker = s.wait_generation(1);
    let keys: Vec<String> = exports(worker).into_iter().map(|(key, _, _)| key).collect();
    let expected = [
        format!("127.0.0.1:{}", s.port(1)),
        format!("127.0.0.1:{}", s.port(0)),
        format!("127.0.0.1:{}", s.port(2)),
        s.path("b.sock").display().to_string(),
        s.path("a.sock").display().to_string(),
    ];
    assert_eq!(keys, expected);
    let fds: Vec<i32> = exports(worker).into_iter().map(|(_, fd, _)| fd).collect();
    assert!(
        fds.windows(2).all(|pair| pair[0] < pair[1]),
        "not in order: {fds:?}"
    );
    s.stop();
}

#[test]
fn every_generation_gets_the_same_sockets() {
    let s = start(&["--port=127.0.0.1:PORT", "--path=DIR/a.sock"], SLEEPS);
    let first = s.wait_generation(1);
    let sockets = (exports(first), first.variable("SERVER_STARTER_PORT"));
    let inodes: Vec<String> = sockets
        .0
        .iter()
        .map(|(_, fd, _)| first.descriptors()[fd].clone())
        .collect();
    s.hup();
    let second = s.wait_generation(2);
    assert_eq!(
        (exports(second), second.variable("SERVER_STARTER_PORT")),
        sockets
    );
    let same: Vec<String> = sockets
        .0
        .iter()
        .map(|(_, fd, _)| second.descriptors()[fd].clone())
        .collect();
    assert_eq!(same, inodes);
    s.stop();
}

#[test]
fn variable_is_empty_without_sockets() {
    let s = start(&[], SLEEPS);
    assert_eq!(
        s.wait_generation(1)
            .variable("SERVER_STARTER_PORT")
            .as_deref(),
        Some("")
    );
    s.stop();
}

#[test]
fn address_in_use_is_named() {
    let s = start(&["--port=127.0.0.1:PORT"], SLEEPS);
    let address = format!("127.0.0.1:{}", s.port(0));
    let second = s.command(&["--port=127.0.0.1:PORT", "--", "sleep", "1000"]);
    second.expect_failure(&[&address, IN_USE]);
    assert!(!second.stderr.contains("starting new worker"), "{second}");
    s.stop();
}

#[test]
fn unknown_host_is_named() {
    let options = ["--port", "no.such.host.invalid:PORT"];
    supervisor(&options)
        .program(["--", "true"])
        .run()
        .expect_failure(&["no.such.host.invalid"]);
}

mod extensions {
    use server_starter_testing::workers::SLEEPS;
    use server_starter_testing::{exports, have_ipv6};

    use super::{IN_USE, check};
    use crate::fixtures::{start, supervisor};

    #[test]
    fn descriptors_are_contiguous_from_3() {
        let specs = [
            "--port=127.0.0.1:PORT",
            "--path=DIR/a.sock",
            "--port=127.0.0.1:uPORT2",
            "--path=DIR/b.sock",
        ];
        let s = supervisor(&specs).sh(SLEEPS).start();
        let fds: Vec<i32> = exports(s.wait_generation(1))
            .into_iter()
            .map(|(_, fd, _)| fd)
            .collect();
        assert_eq!(fds, [3, 4, 5, 6]);
        s.stop();
    }

    #[test]
    fn inherited_descriptors_do_not_shift_the_sockets() {
        let before = "exec 3</dev/null 4</dev/null 6</dev/null";
        let s = supervisor(&["--port=127.0.0.1:PORT", "--path=DIR/a.sock"])
            .before(before)
            .sh(SLEEPS)
            .start();
        let fds: Vec<i32> = exports(s.wait_generation(1))
            .into_iter()
            .map(|(_, fd, _)| fd)
            .collect();
        assert_eq!(fds, [3, 4]);
        s.stop();
    }

    #[test]
    fn chosen_descriptor_may_be_3() {
        let specs = [
            "--port=127.0.0.1:PORT",
            "--port=127.0.0.1:PORT2=3",
            "--port=127.0.0.1:PORT3=4",
        ];
        let s = supervisor(&specs).sh(SLEEPS).start();
        let found = exports(s.wait_generation(1));
        let key = |index| format!("127.0.0.1:{}", s.port(index));
        let keys: Vec<&str> = found.iter().map(|(key, _, _)| key.as_str()).collect();
        assert_eq!(keys, [key(0), key(1), key(2)]);
        assert_eq!((found[1].1, found[2].1), (3, 4));
        for (key, _, address) in &found {
            assert_eq!(*address, format!("tcp {key}"));
        }
        s.stop();
    }

    #[test]
    fn port_0_is_exported_by_its_real_number() {
        for (spec, kind, host) in [
            ("127.0.0.1:0", "tcp", "127.0.0.1:"),
            ("0", "tcp", ""),
            ("127.0.0.1:u0", "udp", "127.0.0.1:"),
        ] {
            let s = supervisor(&["--port", spec]).sh(SLEEPS).start();
            let found = exports(s.wait_generation(1));
            let (key, _, address) = &found[0];
            let port: u16 = key.strip_prefix(host).unwrap().parse().unwrap();
            assert_ne!(port, 0, "--port={spec}");
            let host = if host.is_empty() { "0.0.0.0:" } else { host };
            assert_eq!(*address, format!("{kind} {host}{port}"), "--port={spec}");
            s.stop();
        }
    }

    #[test]
    fn port_0_may_be_given_twice() {
        let s = supervisor(&["--port=127.0.0.1:0", "--port=127.0.0.1:u0"])
            .sh(SLEEPS)
            .start();
        let found = exports(s.wait_generation(1));
        assert_eq!(found.len(), 2, "{found:?}");
        s.stop();
    }

    #[test]
    fn same_port_may_be_tcp_and_udp() {
        let s = supervisor(&["--port=127.0.0.1:PORT", "--port=127.0.0.1:uPORT"])
            .sh(SLEEPS)
            .start();
        let key = format!("127.0.0.1:{}", s.port(0));
        let expected = [
            (key.clone(), 3, format!("tcp {key}")),
            (key.clone(), 4, format!("udp {key}")),
        ];
        assert_eq!(exports(s.wait_generation(1)), expected);
        s.stop();
    }

    #[test]
    fn udp_port_is_not_shared() {
        let s = start(&["--port=127.0.0.1:uPORT"], SLEEPS);
        let address = format!("127.0.0.1:{}", s.port(0));
        let second = s.command(&["--port=127.0.0.1:uPORT", "--", "sleep", "1000"]);
        second.expect(1, &[&address, IN_USE]);
        s.stop();
    }

    #[test]
    fn address_that_cannot_be_bound_is_exit_status_1() {
        let s = start(&["--port=127.0.0.1:PORT"], SLEEPS);
        let address = format!("127.0.0.1:{}", s.port(0));
        let second = s.command(&["--port=127.0.0.1:PORT", "--", "sleep", "1000"]);
        second.expect(1, &[&address, IN_USE]);
        let options = ["--port", "no.such.host.invalid:PORT"];
        supervisor(&options)
            .program(["--", "true"])
            .run()
            .expect(1, &["no.such.host.invalid"]);
        let elsewhere = ["--port", "192.0.2.1:PORT"];
        let refused = supervisor(&elsewhere).program(["--", "true"]).run();
        refused.expect(1, &["failed to bind to 192.0.2.1:"]);
        s.stop();
    }

    #[test]
    fn ipv6_spec_may_choose_a_descriptor() {
        if have_ipv6() {
            check("[::1]:PORT=11", "[::1]:PORT", "tcp [::1]:PORT");
        }
    }
}
