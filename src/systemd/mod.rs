//! What systemd is told, and what it keeps for us.

mod notify;
pub(crate) mod store;

pub(crate) use notify::{Notifier, SavedNotifier, Timeouts};
pub(crate) use store::Store;

/// Whether a service manager started us and wants to hear from us, sd_notify(3).
pub(crate) fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}
