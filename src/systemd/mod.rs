//! systemd: what it is told, sd_notify(3), and its fd store.

mod notify;
mod outbox;
pub(crate) mod store;

pub(crate) use notify::{Notifier, NotifierState, Status, Timeouts};
pub(crate) use store::Store;

/// Whether a service manager has started this process and listens for notifications.
pub(crate) fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}
