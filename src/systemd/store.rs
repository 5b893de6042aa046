//! The fd store: systemd keeps the sockets we bound while we are gone, so that a restart of the
//! service, or the death of the supervisor, loses no connection that waits in their queues.
//!
//! systemd says in `$FDSTORE` how many descriptors it would keep (since 254; on older ones the unit
//! has to set the variable beside `FileDescriptorStoreMax=`). Without it nothing is stored.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use sd_notify::NotifyState;

use super::is_listening;
use crate::error::DisplayIoError;

/// What our names in the store begin with.
const PREFIX: &str = "start_server.";

/// FDNAME has at most this many characters, sd_pid_notify_with_fds(3).
const LONGEST_NAME: usize = 255;

/// systemd's fd store, if this service has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store {
    room: usize,
}

impl Store {
    /// The store of our service; none: there is none.
    pub(crate) fn ours() -> Option<Store> {
        let room = std::env::var("FDSTORE")
            .ok()?
            .parse()
            .ok()
            .filter(|room| *room > 0)?;
        is_listening().then_some(Store { room })
    }

    /// Stores these sockets, which we bound, under names made from their keys. Says how many of
    /// them systemd has room for, from the first on.
    pub(crate) fn keep<'a>(
        self,
        sockets: impl ExactSizeIterator<Item = (&'a OsStr, bool, BorrowedFd<'a>)>,
    ) -> usize {
        let count = sockets.len();
        if count > self.room {
            tracing::warn!(
                "the fd store has room for {} of {count} sockets: the others will lose waiting \
                 connections when the service restarts (FileDescriptorStoreMax= in the unit)",
                self.room
            );
        }
        let kept = sockets.take(self.room).take_while(|(key, datagram, fd)| {
            let name = name_of(key, *datagram);
            let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
            let sent = sd_notify::notify_with_fds(&states, &[*fd]);
            if let Err(e) = &sent {
                tracing::warn!("failed to store {name} with systemd: {}", DisplayIoError(e));
            }
            sent.is_ok()
        });
        kept.count()
    }
}

impl Store {
    /// Stores a socket in place of the one with the same key.
    pub(crate) fn replace(self, key: &OsStr, datagram: bool, socket: BorrowedFd<'_>) {
        forget(OsStr::new(&name_of(key, datagram)));
        self.keep(std::iter::once((key, datagram, socket)));
    }
}

/// Whether a name is one that we gave to a stored socket.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// Has systemd close a socket that it kept and nobody wants any more.
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
        // The end of a path says more than its beginning.
        let tail = name.split_off(name.len() - (LONGEST_NAME - PREFIX.len()));
        name = format!("{PREFIX}{tail}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_distinct_and_recognised() {
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
