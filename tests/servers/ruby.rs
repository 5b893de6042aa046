//! Puma.

use crate::harness::{Fate, Server, Slow, State, tests_of};

const PUMA: Server = Server {
    name: "Puma",
    needs: "command -v puma && ruby -e 'require \"sd_notify\"'",
    slow: Slow::Server,
    loses: true,
    broken: ("config.ru", "raise 'broken'\n"),
};

tests_of!(PUMA);

#[test]
fn drain_closes_connections_without_a_request() {
    for state in [State::New, State::Idle] {
        let fate = PUMA.drained_alone(state);
        assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
    }
}
