//! One ID for each kind of message, for `journalctl MESSAGE_ID=…` and the catalog of explanations
//! (`journalctl -x`; `systemd/server-starter.catalog`). Never change an ID, and never use one again.

/// A worker process exists.
pub(super) const STARTED: &str = "4e91462d6a3a44ab90ab5e34ace4ef92";
/// A generation counts as started.
pub(super) const READY: &str = "018b92b809174329950368b3972b70b5";
/// A worker died before it was ready.
pub(super) const FAILED_TO_START: &str = "2f6384d111fb474bb197c8a3d440f680";
/// A worker did not say `READY=1` in time.
pub(super) const NEVER_READY: &str = "49588c5c0b3a42739e72be941c91c1ae";
/// A worker does not ping, or is stuck.
pub(super) const STUCK: &str = "13e742bfdf864962baadce80a59b4438";
/// An attempt gave no process.
pub(super) const NOT_SPAWNED: &str = "b16f9441d4704482bb34781caa90be97";
/// No more attempts are made.
pub(super) const GAVE_UP: &str = "8ad760dcd04340c1acba281c97ed437a";
/// The current worker died.
pub(super) const DIED_UNEXPECTEDLY: &str = "cb02f1dc4c3e4bef9b9f3e71ba967f1f";
/// An old worker died, or one that was being stopped.
pub(super) const OLD_DIED: &str = "5b944d66c52a4b58bfd4398c3a823f50";
/// The check before a reload failed.
pub(super) const CHECK_FAILED: &str = "08d019f924054cceb98e07a3aa3fc4fa";
/// A reload begins.
pub(super) const RELOADING: &str = "a8e4129d69774139b34e661cee908fe3";
/// A reload has succeeded.
pub(super) const REPLACING: &str = "fac9b9e0069545a999f5ae1a9ac3552d";
/// A stop was asked for.
pub(super) const STOPPING: &str = "2b6613aa74c1448bb51b2b5a377a6627";
/// A worker has outlived the stop time-out.
pub(super) const OVERDUE: &str = "8845a118174a4de98b208e7bd7752c7c";
/// Another release of this program goes on in its place.
pub(super) const UPGRADED: &str = "f8e9cee1d51c4879bd7a61fc7f50d0ec";
/// An upgrade was refused.
pub(super) const UPGRADE_REFUSED: &str = "8aa48060f717471d976719afa5545d17";
/// Workers of a supervisor that was killed are taken over.
pub(super) const TAKING_OVER: &str = "77ccb9e8ecf24ae48d28e0a4ed8f2ed8";
/// The supervisor exits.
pub(super) const EXITING: &str = "380a281dc87a42b794f1416607c99e2c";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_explains_each_message_id() {
        let catalog = include_str!("../../systemd/server-starter.catalog");
        let ids = [
            STARTED,
            READY,
            FAILED_TO_START,
            NEVER_READY,
            STUCK,
            NOT_SPAWNED,
            GAVE_UP,
            DIED_UNEXPECTEDLY,
            OLD_DIED,
            CHECK_FAILED,
            RELOADING,
            REPLACING,
            STOPPING,
            OVERDUE,
            UPGRADED,
            UPGRADE_REFUSED,
            TAKING_OVER,
            EXITING,
        ];
        for id in ids {
            assert!(catalog.contains(&format!("\n-- {id}\nSubject: ")), "{id}");
        }
        assert_eq!(
            catalog.matches("\n-- ").count(),
            ids.len(),
            "and nothing else"
        );
    }
}
