//! Hashes of states. A walk remembers them instead of the states.
//!
//! Two states that have the same hash would be taken for one. With 64 bits and 300,000 states that
//! happens in one of 400 million walks.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub(super) type FingerprintSet = HashSet<u64, BuildHasherDefault<Fingerprint>>;

pub(super) fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Fingerprint::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// One multiplication for each number, folded to 64 bits. The standard hasher takes several times
/// as long in a build without optimisation.
#[derive(Default)]
pub(super) struct Fingerprint(u64);

const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

impl Hasher for Fingerprint {
    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_add(INCREMENT);
        let product = u128::from(mixed) * u128::from(FACTOR);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_i32(&mut self, n: i32) {
        self.write_u64(n as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
