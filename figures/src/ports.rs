//! The addresses of a run: a loopback address of its own, and a port on it for each candidate; and a block
//! of ports on every address, to see what many of them cost.
//!
//! An address of its own (127/8 is all ours to use) keeps the client out of two traps of the tight connect
//! loop: hitting someone else's server, and, in the ephemeral range, connecting to itself. The block needs
//! short names, for all of them have to fit into one variable: they are bound as `--port=PORT`, everywhere.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process;

/// Where the search for free ports begins: below the ephemeral range.
const FIRST: u16 = 10_000;

/// One listening socket.
#[derive(Clone)]
pub(crate) struct Port {
    /// What `--port` says, and so the key under which a worker finds it.
    pub(crate) spec: String,
    /// Where to connect.
    pub(crate) address: SocketAddrV4,
}

/// This run's addresses.
pub(crate) struct Ports {
    host: Ipv4Addr,
    base: u16,
}

impl Ports {
    /// Finds as many adjacent ports as there are candidates, all free now.
    pub(crate) fn find(candidates: usize) -> Result<Self, String> {
        // Pids have at most 22 bits; a second byte of 64 and more keeps clear of 127.0.0.1 and its neighbours.
        let [_, b, c, d] = process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 64 | (b & 63), c, d);
        let candidates = u16::try_from(candidates).map_err(|_| "too many candidates")?;
        let base = adjacent(host, candidates)?;
        Ok(Self { host, base })
    }

    /// The port of a candidate.
    pub(crate) fn of(&self, candidate: usize) -> Vec<Port> {
        let offset = u16::try_from(candidate).unwrap_or_default();
        let address = SocketAddrV4::new(self.host, self.base + offset);
        let spec = address.to_string();
        vec![Port { spec, address }]
    }

    /// Finds adjacent ports that are free on every address, for one candidate at a time.
    pub(crate) fn block(&self, count: u16) -> Result<Vec<Port>, String> {
        let base = adjacent(Ipv4Addr::UNSPECIFIED, count)?;
        let port = |port: u16| Port {
            spec: port.to_string(),
            address: SocketAddrV4::new(self.host, port),
        };
        Ok((base..base + count).map(port).collect())
    }
}

/// The first of `wanted` adjacent ports that can all be bound now.
fn adjacent(host: Ipv4Addr, wanted: u16) -> Result<u16, String> {
    let mut base = FIRST;
    while u16::MAX - base >= wanted {
        match (base..base + wanted).find(|&port| TcpListener::bind((host, port)).is_err()) {
            None => return Ok(base),
            Some(taken) => base = taken + 1,
        }
    }
    Err(format!("no {wanted} adjacent free ports on {host}"))
}
