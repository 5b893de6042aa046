//! Workers that use libsystemd: a program in C, and a shell script with systemd-notify.

use nix::sys::signal::Signal;

use crate::harness::{Server, Slow, start, tests_of};

const NEEDS: &str = "command -v cc && echo '#include <systemd/sd-daemon.h>' | cc -E - -o /dev/null";

const C: Server = Server {
    name: "C",
    needs: NEEDS,
    slow: Slow::Server,
    loses: false,
    broken: ("worker", "#!/bin/sh\nexit 1\n"),
};

tests_of!(C);

/// The worker prints its sockets by number, name and kind, and the result of sd_notify(3).
#[test]
fn libsystemd_finds_the_sockets_and_sends_ready() {
    let Some(mut recipe) = C.recipe() else { return };
    let port = "--port=127.0.0.1:8080";
    let more = format!("{port} --path=web.sock");
    recipe.command = recipe.command.replace(port, &more);
    let (dir, mut supervisor) = start(&recipe);
    let log = supervisor.stderr();
    let first = format!("3 127.0.0.1_{} tcp", dir.port);
    for line in [first.as_str(), "4 web.sock unix", "notified: 1"] {
        assert!(log.lines().any(|said| said == line), "no {line:?}");
    }
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit().code(), Some(0));
}

/// `systemd-notify --ready` is a child of the worker; it sends a BARRIER and waits until that is read.
mod shell {
    use super::{NEEDS, Server, Slow};
    use crate::harness::tests_of;

    const SHELL: Server = Server {
        name: "Shell",
        needs: NEEDS,
        slow: Slow::Server,
        loses: false,
        broken: ("public/index.html", ""),
    };

    tests_of!(SHELL);
}
