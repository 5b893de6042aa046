//! The examples drain on SIGTERM without losing a request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal::SIGTERM;

use crate::start::{BOUND, Worker, notify_socket, receive};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads one response up to the newline that ends its body. In lower case: `hyper` writes the
/// header names so, the other examples do not.
#[track_caller]
fn read_response(mut client: &TcpStream) -> String {
    let (mut response, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&response).contains(", pid ") || byte != *b"\n" {
        let length = client.read(&mut byte).expect("a response");
        assert_eq!(
            length,
            1,
            "closed after {:?}",
            String::from_utf8_lossy(&response)
        );
        response.extend(byte);
    }
    String::from_utf8(response).unwrap().to_lowercase()
}

#[track_caller]
fn assert_last_response(client: &TcpStream) {
    let response = read_response(client);
    assert!(response.starts_with("http/1.1 200 ok"), "{response}");
    assert!(response.contains("connection: close"), "{response}");
}

fn assert_drains_without_loss(example: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (socket, path) = notify_socket(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(BOUND)).unwrap();
        client
    };
    let worker = Worker::example(example).at(3, &listener);
    let worker = worker.env("SERVER_STARTER_PORT", "80=3");
    let worker = worker.env("SERVER_STARTER_GENERATION", "7");
    let mut worker = worker.env("NOTIFY_SOCKET", path).start();
    assert_eq!(receive(&socket), "READY=1");

    // Accepted in this order: when the last one has its response, the others are accepted too.
    let (silent, slow, idle) = (connect(), connect(), connect());
    (&slow).write_all(&REQUEST.as_bytes()[..20]).unwrap();
    (&idle).write_all(REQUEST.as_bytes()).unwrap();
    let first = read_response(&idle);
    assert!(first.contains("hello from generation 7"), "{first}");
    assert!(!first.contains("connection: close"), "{first}");

    worker.signal(SIGTERM);
    assert_eq!(receive(&socket), "STOPPING=1");
    let late = connect();
    for client in [&silent, &idle] {
        (&*client).write_all(REQUEST.as_bytes()).unwrap();
        assert_last_response(client);
    }
    (&slow).write_all(&REQUEST.as_bytes()[20..]).unwrap();
    assert_last_response(&slow);
    drop((silent, slow, idle));
    assert_eq!(worker.exit_code(), Some(0));

    // The worker has left the late connection in the queue. It has made our listener non-blocking,
    // so `accept` fails here if the queue is empty.
    let (_, client) = listener.accept().expect("a connection in the queue");
    assert_eq!(client, late.local_addr().unwrap());
}

#[test]
fn threads_example_loses_no_request_while_draining() {
    assert_drains_without_loss("threads");
}

#[cfg(feature = "tokio")]
#[test]
fn hyper_example_loses_no_request_while_draining() {
    assert_drains_without_loss("hyper");
}

#[cfg(feature = "tokio")]
#[test]
fn axum_example_loses_no_request_while_draining() {
    assert_drains_without_loss("axum");
}
