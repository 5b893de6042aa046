//! The way into the journal, for entries with fields: systemd.journal-fields(7).

use std::str::FromStr;
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use tracing_journald::{Layer, Priority, PriorityMappings};

use crate::error::Why;

/// Where the supervisor's own lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Destination {
    /// To the journal if that is where standard error goes, else to standard error.
    #[default]
    Auto,
    /// To the journal.
    Journal,
    /// To standard error, or where `--log-file` says.
    Stderr,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Destination, String> {
        match text {
            "auto" => Ok(Destination::Auto),
            "journal" => Ok(Destination::Journal),
            "stderr" => Ok(Destination::Stderr),
            _ => Err("'auto', 'journal' or 'stderr' is wanted".to_owned()),
        }
    }
}

static JOURNAL: OnceLock<Layer> = OnceLock::new();

/// Sends what follows to the journal, if `to` says so and there is one. `redirected`: standard
/// error is about to be replaced by a log file. What is opened for that stays open, on the lowest
/// free number: nobody must want that any more.
pub(crate) fn connect(to: Destination, redirected: bool) {
    let wanted = match to {
        Destination::Auto => !redirected && stderr_is_the_journal(),
        Destination::Journal => true,
        Destination::Stderr => false,
    };
    if !wanted {
        return;
    }
    // By default INFO becomes "notice" there.
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    match Layer::new() {
        Ok(layer) => {
            let layer = layer
                .with_field_prefix(None)
                .with_syslog_identifier("start_server".to_owned())
                .with_priority_mappings(priorities);
            let _ = JOURNAL.set(layer);
        }
        Err(e) => tracing::warn!("no journal to write to, using standard error: {}", Why(&e)),
    }
}

/// The journal, once [`connect`] has found it.
pub(super) fn connected() -> Option<&'static Layer> {
    JOURNAL.get()
}

/// `JOURNAL_STREAM` names the device and inode of the journal's end, systemd.exec(5); standard
/// error may have been sent elsewhere since.
fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = stream.split_once(':') else {
        return false;
    };
    fstat(std::io::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}
