//! The addresses of a run: a loopback address of its own, and a block of ports on it for each contender.
//!
//! An address of its own (127/8 is all ours to use) keeps the client out of two traps of the tight connect
//! loop: hitting someone else's server, and, in the ephemeral range, connecting to itself.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process;

/// Ports per contender.
pub(crate) const BLOCK: u16 = 1000;

/// A free range of ports, one block per contender.
pub(crate) struct Ports {
    host: Ipv4Addr,
    base: u16,
}

impl Ports {
    /// Finds `blocks` adjacent blocks in which every port can be bound now.
    pub(crate) fn find(blocks: usize) -> Result<Self, String> {
        // Pids have at most 22 bits; a second byte of 64 and more keeps clear of 127.0.0.1 and its neighbours.
        let [_, b, c, d] = process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 64 | (b & 63), c, d);
        let wanted = u16::try_from(blocks)
            .ok()
            .and_then(|blocks| blocks.checked_mul(BLOCK));
        let wanted = wanted
            .filter(|&wanted| wanted <= 50_000)
            .ok_or("too many contenders")?;
        let mut base = 10_000;
        while u16::MAX - base >= wanted {
            match (base..base + wanted).find(|&port| TcpListener::bind((host, port)).is_err()) {
                None => return Ok(Self { host, base }),
                Some(taken) => base = taken + 1,
            }
        }
        Err(format!("no {wanted} adjacent free ports on {host}"))
    }

    /// The first `count` addresses of a contender's block.
    pub(crate) fn of(&self, contender: usize, count: u16) -> Vec<SocketAddrV4> {
        assert!((1..=BLOCK).contains(&count));
        let offset = u16::try_from(contender).unwrap_or_default() * BLOCK;
        (0..count)
            .map(|port| SocketAddrV4::new(self.host, self.base + offset + port))
            .collect()
    }
}
