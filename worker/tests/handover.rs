//! A process started as `start_server` starts a worker: a socket that came through `execve`, and
//! its number in the environment.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use server_starter_worker::{Error, generation, listeners};

/// Runs the ignored test of this name in a process of its own.
fn worker(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this test"));
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env_remove("SERVER_STARTER_PORT")
        .env_remove("SERVER_STARTER_GENERATION");
    command
}

#[track_caller]
fn assert_success(output: Output) {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // "1 passed": a name nobody has would succeed as well.
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn a_worker_serves_on_its_inherited_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();

    // In the queue before the worker lives: nothing is lost.
    let mut client = TcpStream::connect(address).unwrap();
    let output = worker("greets_one_client")
        .env(
            "SERVER_STARTER_PORT",
            format!("{address}={}", listener.as_raw_fd()),
        )
        .env("SERVER_STARTER_GENERATION", "7")
        .output()
        .unwrap();
    assert_success(output);

    let mut greeting = String::new();
    client.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "generation 7");
}

#[test]
#[ignore = "the worker of a_worker_serves_on_its_inherited_socket"]
fn greets_one_client() {
    let listener = listeners().unwrap().take_tcp().unwrap();
    let (mut client, _) = listener.accept().unwrap();
    write!(client, "generation {}", generation().unwrap()).unwrap();

    // One owner for one descriptor, whoever asks again.
    assert!(matches!(listeners(), Err(Error::AlreadyTaken)));
}

#[test]
fn without_start_server_there_is_nothing_to_take() {
    let output = worker("finds_nothing").output().unwrap();
    assert_success(output);
}

#[test]
#[ignore = "the worker of without_start_server_there_is_nothing_to_take"]
fn finds_nothing() {
    let error = listeners().unwrap_err();
    assert!(matches!(error, Error::NotStarted), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("not started by start_server?"),
        "{error}"
    );
    assert_eq!(generation(), None);
}

#[test]
fn started_without_sockets_is_no_error() {
    let output = worker("has_no_sockets")
        .env("SERVER_STARTER_PORT", "")
        .env("SERVER_STARTER_GENERATION", "first")
        .output()
        .unwrap();
    assert_success(output);
}

#[test]
#[ignore = "the worker of started_without_sockets_is_no_error"]
fn has_no_sockets() {
    assert!(listeners().unwrap().is_empty());
    assert_eq!(generation(), None, "not a decimal number");
}
