//! A server in Go, with go-systemd's packages.

use crate::harness::{Fate, Server, Slow, State, tests_of};

const GO: Server = Server {
    name: "Go",
    needs: "command -v go && test -d /usr/share/gocode/src/github.com/coreos/go-systemd/activation",
    slow: Slow::Server,
    loses: false,
    broken: ("server", "#!/bin/sh\nexit 1\n"),
};

tests_of!(GO);

#[test]
fn drain_closes_an_idle_connection() {
    let fate = GO.drained_alone(State::Idle);
    assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
}
