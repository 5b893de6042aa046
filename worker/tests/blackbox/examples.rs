//! The examples keep what they say: told to stop, they lose no request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal::SIGTERM;

use crate::start::{PATIENCE, Worker, notify_socket, told};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads one answer, which ends in a newline. What `hyper` writes as `connection`, others write as
/// `Connection`.
#[track_caller]
fn answer(mut client: &TcpStream) -> String {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&answer).contains(", pid ") || byte != *b"\n" {
        let length = client.read(&mut byte).expect("an answer");
        assert_eq!(
            length,
            1,
            "closed after {:?}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend(byte);
    }
    String::from_utf8(answer).unwrap().to_lowercase()
}

#[track_caller]
fn is_the_last(client: &TcpStream) {
    let answer = answer(client);
    assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

fn drains(example: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (socket, path) = notify_socket(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    let worker = Worker::example(example).at(3, &listener);
    let worker = worker.env("SERVER_STARTER_PORT", "80=3");
    let worker = worker.env("SERVER_STARTER_GENERATION", "7");
    let mut worker = worker.env("NOTIFY_SOCKET", path).start();
    assert_eq!(told(&socket), "READY=1");

    // Accepted in this order. So when the last one has its answer, the others are accepted too.
    let (silent, slow, idle) = (connect(), connect(), connect());
    (&slow).write_all(&REQUEST.as_bytes()[..20]).unwrap();
    (&idle).write_all(REQUEST.as_bytes()).unwrap();
    let first = answer(&idle);
    assert!(first.contains("hello from generation 7"), "{first}");
    assert!(!first.contains("connection: close"), "{first}");

    worker.signal(SIGTERM);
    assert_eq!(told(&socket), "STOPPING=1");
    let late = connect();
    for client in [&silent, &idle] {
        (&*client).write_all(REQUEST.as_bytes()).unwrap();
        is_the_last(client);
    }
    (&slow).write_all(&REQUEST.as_bytes()[20..]).unwrap();
    is_the_last(&slow);
    drop((silent, slow, idle));
    assert_eq!(worker.exit_code(), Some(0));

    // It has left us the one that came too late; somebody made our listener non-blocking.
    let (_, client) = listener.accept().expect("a connection in the queue");
    assert_eq!(client, late.local_addr().unwrap());
}

#[test]
fn threads() {
    drains("threads");
}

#[cfg(feature = "tokio")]
#[test]
fn hyper() {
    drains("hyper");
}

#[cfg(feature = "tokio")]
#[test]
fn axum() {
    drains("axum");
}
