//! Starts a recipe: the supervisor, or its server alone on a socket of the test.

use std::net::TcpListener;
use std::time::Duration;

use server_starter_testing::{Running, expect, program};

use super::{Connection, Recipe, ServerDir};

/// Starts the recipe's supervisor and waits for the first response; again with another port if that is in use.
#[track_caller]
pub(crate) fn start(recipe: &Recipe) -> (ServerDir, Running) {
    for _ in 0..5 {
        let dir = ServerDir::of(recipe);
        let command = dir.filled_in(&recipe.command);
        let options = command.strip_prefix("start_server").unwrap();
        let command = format!(
            "exec {} --status-file=status{options}",
            program!().path().display()
        );
        let mut supervisor = dir.run("start_server", &command, None);
        let up = expect(
            "the first generation answers, or the supervisor ends",
            || {
                if supervisor.exited().is_some() {
                    return Some(false);
                }
                (dir.read("status").starts_with("1:") && answers(dir.port)).then_some(true)
            },
        );
        if up {
            return (dir, supervisor);
        }
        let log = supervisor.stderr();
        assert!(
            log.contains("Address already in use"),
            "the supervisor ended"
        );
    }
    panic!("no free port in five attempts");
}

/// Whether a request is answered.
pub(crate) fn answers(port: u16) -> bool {
    let connection = Connection::open(port);
    connection.is_ok_and(|mut new| new.get("/", false, Duration::ZERO).is_ok())
}

/// Waits until the status file lists this generation only.
#[track_caller]
pub(crate) fn wait_generation(dir: &ServerDir, supervisor: &mut Running, generation: u32) {
    let start = format!("{generation}:");
    expect(&format!("generation {generation} is alone"), || {
        assert!(supervisor.exited().is_none(), "the supervisor ended");
        let status = dir.read("status");
        (status.starts_with(&start) && status.lines().count() == 1).then_some(())
    });
}

/// A directory for this recipe, and a listening socket on its port.
pub(crate) fn bound(recipe: &Recipe) -> (ServerDir, TcpListener) {
    for _ in 0..5 {
        let dir = ServerDir::of(recipe);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", dir.port)) {
            return (dir, listener);
        }
    }
    panic!("no free port in five attempts");
}

/// Runs the server of a recipe without a supervisor, with this socket as its descriptor 3.
pub(crate) fn run_alone(
    recipe: &Recipe,
    dir: &ServerDir,
    listener: &TcpListener,
    generation: u32,
) -> Running {
    let port = dir.port;
    let command = format!(
        "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ \
         SERVER_STARTER_PORT='127.0.0.1:{port}=3' SERVER_STARTER_GENERATION={generation}; exec {}",
        dir.filled_in(recipe.server())
    );
    let socket = listener.try_clone().unwrap();
    dir.run("alone", &command, Some(socket.into()))
}
