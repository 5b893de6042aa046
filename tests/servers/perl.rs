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
fn a_connection_that_has_not_asked_is_closed_by_its_own_drain() {
    let fate = STARMAN.drained_alone(State::New);
    assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
}
