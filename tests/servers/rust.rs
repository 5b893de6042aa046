//! A server on axum, with the worker crate.

use crate::harness::{Fate, Server, Slow, State, tests_of};

const RUST: Server = Server {
    name: "Rust",
    needs: "test -x target/debug/examples/axum",
    slow: Slow::Server,
    loses: false,
    broken: ("target/debug/examples/axum", "#!/bin/sh\nexit 1\n"),
};

tests_of!(RUST);

#[test]
fn drain_answers_new_and_idle_connections() {
    for state in [State::New, State::Idle] {
        let fate = RUST.drained_alone(state);
        assert!(
            matches!(fate, None | Some(Fate::Answered)),
            "{state:?}: {fate:?}"
        );
    }
}
