//! Reloads under load: no request fails.

use std::thread;

use nix::sys::signal::Signal;
use server_starter_testing::{Client, HttpLoad, Supervisor};

use crate::fixtures::start_hello;

/// Clients send requests while `during` runs. All requests must succeed.
#[track_caller]
pub(crate) fn under_load(client: &Client, during: impl FnOnce()) {
    let load = HttpLoad::start(client, || ());
    during();
    load.stop().expect_no_failure();
}

/// Reloads `times` times, each time after the last reload is over.
#[track_caller]
fn reload(s: &Supervisor, times: u32) {
    for generation in 2..2 + times {
        // not `hup`: under load the workers are never idle
        s.wait_asleep();
        s.process().signal(Signal::SIGHUP);
        s.wait_generation(generation);
    }
}

#[test]
fn no_request_fails_across_three_reloads() {
    let s = start_hello(&["--interval=1", "--port=127.0.0.1:PORT"]);
    under_load(&s.client(), || reload(&s, 3));
    assert_eq!(s.client().hello(), (4, s.wait_generation(4)));
    s.stop();
}

#[test]
fn crash_loses_no_connection_in_the_queue() {
    let s = start_hello(&["--port=127.0.0.1:PORT"]);
    let first = s.wait_generation(1);
    s.settle();
    first.signal(Signal::SIGSTOP);
    s.eventually("the worker is stopped", || first.state() == Some('T'));
    let client = s.client();
    let waiting = thread::spawn(move || client.hello());
    first.signal(Signal::SIGKILL);
    let (generation, worker) = waiting.join().unwrap();
    assert_eq!((generation, worker), (2, s.wait_generation(2)));
    s.stop();
}

#[test]
fn request_under_way_is_finished_by_the_old_generation() {
    let s = start_hello(&["--port=127.0.0.1:PORT"]);
    let first = s.wait_generation(1);
    assert_eq!(s.client().hello(), (1, first));
    // the listener and the pair by which it waits for signals; each connection adds one
    const AT_REST: usize = 3;
    let sockets = || {
        let descriptors = first.descriptors();
        descriptors
            .values()
            .filter(|target| target.starts_with("socket:"))
            .count()
    };
    s.eventually("the first request is over", || sockets() == AT_REST);
    let client = s.client();
    let slow = thread::spawn(move || client.get("/slow?ms=3000"));
    s.eventually("the request has been accepted", || sockets() == AT_REST + 1);
    s.hup();
    s.wait_line(&format!(
        "new worker is now running, sending TERM to old workers:{first}"
    ));
    let answer = slow.join().unwrap().unwrap();
    assert_eq!(answer, format!("hello from generation 1, pid {first}"));
    s.wait_line(&format!("old worker {first} died, status:0"));
    assert_eq!(s.client().hello(), (2, s.wait_generation(2)));
    s.stop();
}

mod extensions {
    use super::{Client, reload, start_hello, under_load};

    #[test]
    fn no_request_fails_across_fifty_reloads() {
        let options = ["--interval=0.05", "--port=127.0.0.1:PORT"];
        let s = start_hello(&options);
        under_load(&s.client(), || reload(&s, 50));
        assert_eq!(s.client().hello(), (51, s.wait_generation(51)));
        s.stop();
    }

    #[test]
    fn no_request_fails_across_fifty_reloads_on_a_unix_socket() {
        let options = ["--interval=0.05", "--path=DIR/a.sock"];
        let s = start_hello(&options);
        let client = Client::Unix(s.path("a.sock"));
        under_load(&client, || reload(&s, 50));
        assert_eq!(client.hello(), (51, s.wait_generation(51)));
        s.stop();
    }
}
