//! Reloads under constant load: not one request fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{Client, Setup, Supervisor, hello};

/// Four clients that ask as fast as they can while `during` runs. Every request must be answered; how many there were.
#[track_caller]
pub(crate) fn under_load(client: &Client, during: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    let ask_on = || {
        let (mut answered, mut failed) = (0, Vec::new());
        while !over.load(Ordering::Relaxed) {
            match client.get("/") {
                Ok(answer) if answer.starts_with("hello from generation ") => answered += 1,
                Ok(answer) => failed.push(format!("answered {answer:?}")),
                Err(error) => failed.push(error.to_string()),
            }
        }
        (answered, failed)
    };
    let results = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(ask_on)).collect();
        let stop = StopAtTheEnd(&over);
        during();
        drop(stop);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let failed: Vec<String> = results.iter().flat_map(|result| result.1.clone()).collect();
    let answered = results.iter().map(|result| result.0).sum();
    assert!(
        failed.is_empty(),
        "{} failed, {answered} were answered: {failed:#?}",
        failed.len()
    );
    assert!(answered > 0);
    answered
}

/// The clients stop even when the test panics: the scope waits for them.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reloads again and again, each when the one before is over.
#[track_caller]
fn reload(s: &Supervisor, times: u32) {
    for generation in 2..2 + times {
        // not `hup`: under load no worker is ever idle
        s.wait_asleep();
        s.process().signal(Signal::SIGHUP);
        s.wait_generation(generation);
    }
}

#[test]
fn three_reloads() {
    let s = Setup::new(&["--interval=1", "--port=127.0.0.1:PORT"])
        .program(["--"])
        .program([hello()])
        .start();
    under_load(&s.client(), || reload(&s, 3));
    assert_eq!(s.client().hello(), (4, s.wait_generation(4)));
    s.stop();
}

#[test]
fn a_crash_loses_no_connection_in_the_queue() {
    let s = Setup::new(&["--port=127.0.0.1:PORT"])
        .program(["--"])
        .program([hello()])
        .start();
    let first = s.wait_generation(1);
    s.settle();
    first.signal(Signal::SIGSTOP);
    s.eventually("the worker accepts no more", || first.state() == Some('T'));
    let client = s.client();
    let waiting = thread::spawn(move || client.hello());
    first.signal(Signal::SIGKILL);
    let (generation, worker) = waiting.join().unwrap();
    assert_eq!((generation, worker), (2, s.wait_generation(2)));
    s.stop();
}

#[test]
fn a_request_under_way_is_finished_by_the_old_generation() {
    let s = Setup::new(&["--port=127.0.0.1:PORT"])
        .program(["--"])
        .program([hello()])
        .start();
    let first = s.wait_generation(1);
    assert_eq!(s.client().hello(), (1, first));
    // the listener, the pair by which it waits for signals, and one for each connection
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
    assert_eq!(answer, format!("hello from generation 1, pid {first}\n"));
    s.wait_line(&format!("old worker {first} died, status:0"));
    assert_eq!(s.client().hello(), (2, s.wait_generation(2)));
    s.stop();
}

mod better {
    use super::{Client, Setup, hello, reload, under_load};

    #[test]
    fn fifty_reloads() {
        let options = ["--interval=0.05", "--port=127.0.0.1:PORT"];
        let s = Setup::new(&options)
            .program(["--"])
            .program([hello()])
            .start();
        under_load(&s.client(), || reload(&s, 50));
        assert_eq!(s.client().hello(), (51, s.wait_generation(51)));
        s.stop();
    }

    #[test]
    fn fifty_reloads_on_a_unix_socket() {
        let options = ["--interval=0.05", "--path=DIR/a.sock"];
        let s = Setup::new(&options)
            .program(["--"])
            .program([hello()])
            .start();
        let client = Client::Unix(s.path("a.sock"));
        under_load(&client, || reload(&s, 50));
        assert_eq!(client.hello(), (51, s.wait_generation(51)));
        s.stop();
    }
}
