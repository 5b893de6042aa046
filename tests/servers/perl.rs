//! Starman, on Net::Server::SS::PreFork.

use crate::harness::{Fate, Server, Slow, State, tests_of};

const STARMAN: Server = Server {
    name: "Starman",
    needs: "command -v starman && perl -MNet::Server::SS::PreFork -e 1",
    slow: Slow::Server,
    loses: true,
    broken: ("app.psgi", "die 'broken';\n"),
};

tests_of!(STARMAN);

#[test]
fn drain_closes_a_new_connection() {
    let fate = STARMAN.drained_alone(State::New);
    assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
}
