//! Workers on the real libsystemd: a program in C, and a shell script with systemd-notify.

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

/// The sockets by number, name and kind; and libsystemd has sent its message.
#[test]
fn it_sees_names_and_can_notify() {
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

/// `systemd-notify --ready` sends a BARRIER and waits for the answer; it is a child of the worker, not the worker itself.
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
