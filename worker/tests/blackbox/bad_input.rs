//! Malformed environment variables. In each case the worker takes no socket and its error names the
//! variable or entry that is wrong.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use crate::start::Worker;

/// Starts a worker with a TCP listener on 3, a connection on 4 and a file on 5. Returns its error.
#[track_caller]
fn refused(variables: &[(&str, &str)]) -> String {
    let mut worker = Worker::test("sockets::worker_lists_its_sockets")
        .at(3, TcpListener::bind("127.0.0.1:0").unwrap())
        .at(4, UnixStream::pair().unwrap().0)
        .at(5, File::open("/dev/null").unwrap());
    for (name, value) in variables {
        worker = worker.env(name, value);
    }
    let reported = worker.reports();
    let [error] = &reported[..] else {
        panic!("{variables:?} was read as {reported:?}");
    };
    let error = error.strip_prefix("error: ");
    error
        .unwrap_or_else(|| panic!("{variables:?} was read as {reported:?}"))
        .into()
}

#[test]
fn malformed_server_starter_port_is_refused() {
    for (value, expected) in [
        ("8080", r#"entry "8080": this is not KEY=FD"#),
        ("8080=3;;", r#"entry "": this is not KEY=FD"#),
        ("=3", r#"entry "=3": this is not KEY=FD"#),
        ("8080=x", r#"entry "8080=x": what follows the ="#),
        ("8080=-3", r#"entry "8080=-3": what follows the ="#),
        ("8080=99999999999999999999", "what follows the ="),
        ("8080=3=4", r#"entry "8080=3=4": what follows the ="#),
        ("8080=1", "standard output"),
        (
            "a=3;b=3",
            r#"entry "b=3": another entry has the same descriptor"#,
        ),
        ("a=3;b=900", r#"entry "b=900": no such descriptor is open"#),
        ("a=2147483647", "no such descriptor is open"),
        ("a=3;b=4", r#"entry "b=4": the socket does not listen"#),
        ("a=3;b=5", r#"entry "b=5": the descriptor is not a socket"#),
    ] {
        let error = refused(&[("SERVER_STARTER_PORT", value)]);
        assert!(
            error.starts_with("SERVER_STARTER_PORT: "),
            "{value}: {error}"
        );
        assert!(error.contains(expected), "{value}: {error}");
    }
}

#[test]
fn malformed_listen_fds_is_refused() {
    for count in [
        "",
        "x",
        "-1",
        "1.5",
        "+1",
        " 1",
        "2147483645",
        "99999999999999999999",
    ] {
        let error = refused(&[("LISTEN_PID", "self"), ("LISTEN_FDS", count)]);
        let expected = format!("LISTEN_FDS={count}: this is not a number of descriptors");
        assert_eq!(error, expected);
    }
}

/// The worker stops at the first closed descriptor and allocates nothing for the rest.
#[test]
fn listen_fds_beyond_the_open_descriptors_is_refused() {
    for count in ["4", "70000", "2147483644"] {
        let error = refused(&[("LISTEN_PID", "self"), ("LISTEN_FDS", count)]);
        // libtest may have opened a descriptor of its own on that number.
        let expected = format!("LISTEN_FDS={count}: descriptor 6: ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn listen_fdnames_of_another_count_is_refused() {
    for names in ["", "a", "a:b", "a:b:c:d", ":::"] {
        let us = [("LISTEN_PID", "self"), ("LISTEN_FDS", "3")];
        let error = refused(&[us[0], us[1], ("LISTEN_FDNAMES", names)]);
        let expected = format!("LISTEN_FDNAMES={names}: this is not 3 names");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn listen_fds_for_another_process_is_refused() {
    let error = refused(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "garbage")]);
    let expected = "LISTEN_PID=1: LISTEN_FDS is for that process";
    assert!(error.starts_with(expected), "{error}");
    let error = refused(&[("LISTEN_FDS", "1")]);
    assert!(error.starts_with("not started by start_server"), "{error}");
    let error = refused(&[]);
    assert!(error.starts_with("not started by start_server"), "{error}");
    for pid in ["", "0", "-1", "x"] {
        let error = refused(&[("LISTEN_PID", pid), ("LISTEN_FDS", "1")]);
        assert!(error.starts_with(&format!("LISTEN_PID={pid}: ")), "{error}");
    }
    let us = [("LISTEN_PID", "self"), ("LISTEN_FDS", "1")];
    let error = refused(&[us[0], us[1], ("LISTEN_PIDFDID", "x")]);
    assert!(error.starts_with("LISTEN_PIDFDID=x: "), "{error}");
}
