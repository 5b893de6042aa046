//! What a server without a supervisor does to its connections when it gets its graceful signal.

use std::fs;
use std::time::Duration;

use server_starter_testing::expect;

use super::client::Fate;
use super::run::{answers, bound, run_alone};
use super::{Connection, Server, ServerDir};

/// A connection without a request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Accepted, without a request so far.
    New,
    /// Kept alive after a request.
    Idle,
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

impl Server {
    /// Runs the server on a socket of the test, opens such a connection and sends the recipe's signal. Returns what
    /// happens to the connection; `None` if the server is not installed.
    #[track_caller]
    pub(crate) fn drained_alone(&self, state: State) -> Option<Fate> {
        let recipe = self.recipe()?;
        let (dir, listener) = bound(&recipe);
        let mut server = run_alone(&recipe, &dir, &listener, 1);
        expect("the server answers", || answers(dir.port).then_some(()));
        expect("there is no connection", || {
            (connections(&dir) == 0).then_some(())
        });
        let mut connection = Connection::open(dir.port).unwrap();
        if state == State::Idle {
            let kept = connection.get("/", true, Duration::ZERO).unwrap();
            assert!(kept, "the server does not keep connections alive");
        }
        expect("the connection is accepted", || {
            (connections(&dir) == 1).then_some(())
        });
        server.signal(recipe.signal());
        let fate = connection.fate(REQUEST);
        server.wait_exit();
        Some(fate)
    }
}

/// The number of accepted connections to the server's port: a socket gets its inode when it is accepted.
fn connections(dir: &ServerDir) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes([127, 0, 0, 1]),
        dir.port
    );
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1] == local && fields[3] == "01" && fields[9] != "0"
    };
    table.lines().skip(1).filter(is_ours).count()
}
