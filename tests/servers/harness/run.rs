//! Starting what a recipe says: all of it, or its server alone, on a socket of the test's.

use std::net::TcpListener;
use std::time::Duration;

use super::{Connection, Place, Recipe, Running, eventually};

/// Starts the recipe's supervisor and waits for the first answer. Again with another port, when somebody took it.
#[track_caller]
pub(crate) fn start(recipe: &Recipe) -> (Place, Running) {
    for _ in 0..5 {
        let place = Place::of(recipe);
        let command = place.filled_in(&recipe.command);
        let options = command.strip_prefix("start_server").unwrap();
        let command = format!(
            "exec {} --status-file=status{options}",
            env!("CARGO_BIN_EXE_start_server")
        );
        let mut supervisor = place.run("start_server", &command, None);
        let up = eventually("the first generation answers, or the end", || {
            if supervisor.exited().is_some() {
                return Some(false);
            }
            (place.read("status").starts_with("1:") && answers(place.port)).then_some(true)
        });
        if up {
            return (place, supervisor);
        }
        let log = supervisor.log();
        assert!(log.contains("Address already in use"), "it ended");
    }
    panic!("no free port in five attempts");
}

/// Whether a request is answered.
pub(crate) fn answers(port: u16) -> bool {
    let connection = Connection::open(port);
    connection.is_ok_and(|mut new| new.get("/", false, Duration::ZERO).is_ok())
}

/// Waits until the status file has this generation alone: all older ones are gone.
#[track_caller]
pub(crate) fn wait_generation(place: &Place, supervisor: &mut Running, generation: u32) {
    let start = format!("{generation}:");
    eventually(&format!("generation {generation} alone"), || {
        assert!(supervisor.exited().is_none(), "the supervisor ended");
        let status = place.read("status");
        (status.starts_with(&start) && status.lines().count() == 1).then_some(())
    });
}

/// A place for this recipe, and a listening socket on its port.
pub(crate) fn bound(recipe: &Recipe) -> (Place, TcpListener) {
    for _ in 0..5 {
        let place = Place::of(recipe);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", place.port)) {
            return (place, listener);
        }
    }
    panic!("no free port in five attempts");
}

/// Runs the server of a recipe on this socket, as its descriptor 3, and nobody above it.
pub(crate) fn run_alone(
    recipe: &Recipe,
    place: &Place,
    listener: &TcpListener,
    generation: u32,
) -> Running {
    let port = place.port;
    let command = format!(
        "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ \
         SERVER_STARTER_PORT='127.0.0.1:{port}=3' SERVER_STARTER_GENERATION={generation}; exec {}",
        place.filled_in(recipe.server())
    );
    let socket = listener.try_clone().unwrap();
    place.run("alone", &command, Some(socket.into()))
}
