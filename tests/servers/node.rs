//! Node.js.

use crate::harness::{Fate, Server, Slow, State, tests_of};

const NODE: Server = Server {
    name: "Node.js",
    needs: "command -v node && command -v systemd-notify",
    slow: Slow::Server,
    loses: false,
    broken: ("server.js", "throw new Error('broken');\n"),
};

tests_of!(NODE);

#[test]
fn drain_answers_a_new_connection_and_closes_an_idle_one() {
    for (state, expected) in [(State::New, Fate::Answered), (State::Idle, Fate::Closed)] {
        let fate = NODE.drained_alone(state);
        assert!(
            fate.is_none_or(|fate| fate == expected),
            "{state:?}: {fate:?}"
        );
    }
}
