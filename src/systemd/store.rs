//! The fd store: systemd keeps the sockets that the supervisor has bound while no supervisor runs. So a
//! restart of the service, or the death of the supervisor, loses no connection that waits to be accepted.
//!
//! `$FDSTORE` has the number of descriptors that systemd keeps. systemd sets it since 254; before that, the unit
//! has to, next to `FileDescriptorStoreMax=`. Without the variable nothing is stored.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use sd_notify::NotifyState;

use super::is_listening;
use crate::error::DisplayIoError;

/// The beginning of the names of our sockets in the store.
const PREFIX: &str = "start_server.";

/// The greatest length of FDNAME, sd_pid_notify_with_fds(3).
const LONGEST_NAME: usize = 255;

/// The fd store of this service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store {
    /// The number of descriptors that it holds at most.
    capacity: usize,
}

impl Store {
    /// `None` if the service has no fd store.
    pub(crate) fn ours() -> Option<Store> {
        let capacity = std::env::var("FDSTORE").ok()?.parse().ok()?;
        (capacity > 0 && is_listening()).then_some(Store { capacity })
    }

    /// Says once, at the start, that systemd keeps none of the sockets that were bound here, and what to set. They are
    /// not offered blindly: systemd would answer each offer with a warning of its own, and the file of a
    /// unix socket, which stays when the socket is kept, would be left behind.
    pub(crate) fn hint(bound: usize) {
        if bound > 0 && is_listening() {
            tracing::info!(
                "systemd keeps no socket of this service: 'systemctl restart' will refuse connections until the new \
                 worker is up; FileDescriptorStoreMax={bound} in the unit, and before systemd 254 \
                 Environment=FDSTORE={bound} beside it, change that"
            );
        }
    }

    /// Stores sockets that this supervisor has bound, under names made from their keys. Returns how many
    /// have been stored, from the first on.
    pub(crate) fn add<'a>(
        self,
        sockets: impl ExactSizeIterator<Item = (&'a OsStr, bool, BorrowedFd<'a>)>,
    ) -> usize {
        let count = sockets.len();
        if count > self.capacity {
            tracing::warn!(
                "the fd store has room for {} of {count} sockets: the others will lose waiting \
                 connections when the service restarts (FileDescriptorStoreMax= in the unit)",
                self.capacity
            );
        }
        let stored = sockets
            .take(self.capacity)
            .take_while(|(key, datagram, fd)| {
                let name = name_of(key, *datagram);
                // FDPOLL=0: systemd would drop a socket that a worker has shut down.
                let poll = NotifyState::Custom("FDPOLL=0");
                let states = [NotifyState::FdStore, NotifyState::FdName(&name), poll];
                let sent = sd_notify::notify_with_fds(&states, &[*fd]);
                if let Err(e) = &sent {
                    tracing::warn!("failed to store {name} with systemd: {}", DisplayIoError(e));
                }
                sent.is_ok()
            });
        stored.count()
    }

    /// Stores a socket in place of the one with the same key.
    pub(crate) fn replace(self, key: &OsStr, datagram: bool, socket: BorrowedFd<'_>) {
        forget(OsStr::new(&name_of(key, datagram)));
        self.add(std::iter::once((key, datagram, socket)));
    }
}

/// Whether a name in the store is that of one of our sockets.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// Removes a socket from the store. systemd closes it.
pub(crate) fn forget(name: &OsStr) {
    let Some(name) = name.to_str().filter(|_| is_listening()) else {
        return;
    };
    let states = [
        NotifyState::Custom("FDSTOREREMOVE=1"),
        NotifyState::FdName(name),
    ];
    if let Err(e) = sd_notify::notify(&states) {
        tracing::warn!(
            "failed to remove {name} from systemd's fd store: {}",
            DisplayIoError(&e)
        );
    }
}

/// `start_server.tcp.127.0.0.1%3A80`: printable, without the colon that ends a name.
fn name_of(key: &OsStr, datagram: bool) -> String {
    let mut name = format!("{PREFIX}{}.", if datagram { "dgram" } else { "stream" });
    for byte in key.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'@' => {
                name.push(char::from(*byte))
            }
            other => drop(write!(name, "%{other:02X}")),
        }
    }
    if name.len() > LONGEST_NAME {
        // The ends of long paths differ more often than their beginnings.
        let tail = name.split_off(name.len() - (LONGEST_NAME - PREFIX.len()));
        name = format!("{PREFIX}{tail}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_socket_is_valid_distinct_and_recognised() {
        let name = |key: &str, datagram| name_of(OsStr::new(key), datagram);
        assert_eq!(
            name("127.0.0.1:80", false),
            "start_server.stream.127.0.0.1%3A80"
        );
        assert_ne!(name("53", false), name("53", true));
        let long = name(&"é".repeat(100), false);
        assert!(
            long.len() <= LONGEST_NAME && is_ours(OsStr::new(&long)),
            "{long}"
        );
        assert!(!is_ours(OsStr::new("web.socket")));
    }
}
