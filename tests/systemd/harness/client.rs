//! Clients in the network of a machine: threads of the test that enter its network namespace.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};
use server_starter_testing::{Client, HttpLoad};

use super::Machine;

impl Machine {
    /// Runs `action` in the machine's network, in a thread of its own.
    pub(crate) fn in_network<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = self.network();
        std::thread::spawn(move || {
            enter(&network);
            action()
        })
    }

    /// The response of this port of 127.0.0.1.
    pub(crate) fn get(&self, port: u16) -> io::Result<String> {
        self.get_from((Ipv4Addr::LOCALHOST, port))
    }

    /// The response of this address.
    pub(crate) fn get_from(&self, address: impl Into<SocketAddr>) -> io::Result<String> {
        let client = Client::Tcp(address.into());
        self.in_network(move || client.get("/")).join().unwrap()
    }

    /// The response of this unix socket.
    pub(crate) fn get_from_unix(&self, path: &str) -> io::Result<String> {
        Client::Unix(self.path(path)).get("/")
    }

    /// A request whose response takes this long.
    pub(crate) fn get_slowly(&self, port: u16, millis: u32) -> JoinHandle<io::Result<String>> {
        let target = format!("/slow?ms={millis}");
        self.in_network(move || Client::of_port(port).get(&target))
    }

    /// Load on this port of 127.0.0.1.
    pub(crate) fn load(&self, port: u16) -> HttpLoad {
        let network = self.network();
        HttpLoad::start(&Client::of_port(port), move || enter(&network))
    }
}

/// Moves the calling thread into this network namespace.
fn enter(network: &Path) {
    setns(File::open(network).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
}
