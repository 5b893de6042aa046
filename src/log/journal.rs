//! The way into the journal, for entries with fields: systemd.journal-fields(7).
//!
//! tracing-journald keeps its socket to itself, waits when the journal has stopped reading, and
//! drops what it cannot send. A supervisor must not wait, and its lines are not to be lost: so we
//! hold its socket once more, to see before each entry that the journal takes it. What the journal
//! does not take goes to standard error.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_journald::{Layer, Priority, PriorityMappings};

use crate::error::DisplayIoError;
use crate::sys;

/// Where journald listens, and where tracing-journald sends.
const PATH: &str = "/run/systemd/journal/socket";

/// Where the supervisor's own lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogTarget {
    /// To the journal if that is where standard error goes, else to standard error.
    #[default]
    Auto,
    /// To the journal.
    Journal,
    /// To standard error, or where `--log-file` says.
    Stderr,
}

impl FromStr for LogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<LogTarget, String> {
        match text {
            "auto" => Ok(LogTarget::Auto),
            "journal" => Ok(LogTarget::Journal),
            "stderr" => Ok(LogTarget::Stderr),
            _ => Err("'auto', 'journal' or 'stderr' is wanted".to_owned()),
        }
    }
}

static WANTED: AtomicBool = AtomicBool::new(false);
static JOURNAL: OnceLock<Journal> = OnceLock::new();

struct Journal {
    layer: Layer,
    /// The layer's own socket, by another number.
    socket: UnixDatagram,
}

/// Sends what follows to the journal, if `to` says so, whenever there is one. `redirected`: standard
/// error is about to be replaced by a log file. What is opened for that stays open, on the lowest
/// free numbers: nobody must want those any more.
pub(crate) fn connect(to: LogTarget, redirected: bool) {
    let wanted = match to {
        LogTarget::Auto => !redirected && stderr_is_the_journal(),
        LogTarget::Journal => true,
        LogTarget::Stderr => false,
    };
    if !wanted {
        return;
    }
    match Journal::open() {
        Ok(journal) => drop(JOURNAL.set(journal)),
        Err(e) => tracing::warn!(
            "no journal to write to, using standard error: {}",
            DisplayIoError(&e)
        ),
    }
    WANTED.store(true, Ordering::Relaxed);
}

/// The journal, if it is wanted and takes an entry now.
pub(super) fn listening() -> Option<&'static Layer> {
    if !WANTED.load(Ordering::Relaxed) {
        return None;
    }
    if JOURNAL.get().is_none() {
        let _ = JOURNAL.set(Journal::open().ok()?); // there was none, or it did not read
    }
    let journal = JOURNAL.get()?;
    takes_more(&journal.socket).ok()?;
    Some(&journal.layer)
}

impl Journal {
    fn open() -> io::Result<Journal> {
        let probe = UnixDatagram::unbound()?;
        takes_more(&probe)?; // the layer greets it, and would wait
        // The lowest free number: the layer's socket is the next to get it. There is one thread.
        let number = probe.as_raw_fd();
        drop(probe);
        let layer = Layer::new()?
            .with_field_prefix(None)
            .with_syslog_identifier("start_server".to_owned())
            .with_priority_mappings(PRIORITIES);
        let socket = UnixDatagram::from(sys::fd::duplicate(number)?);
        socket.set_nonblocking(true)?;
        Ok(Journal { layer, socket })
    }
}

/// By default INFO becomes "notice" there.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Fails unless one more datagram can be sent to the journal at once. It may be another one than
/// before.
fn takes_more(socket: &UnixDatagram) -> io::Result<()> {
    socket.connect(PATH)?;
    match sys::datagram::takes_more(socket)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// `JOURNAL_STREAM` names the device and inode of the journal's end, systemd.exec(5); standard
/// error may have been sent elsewhere since.
pub(crate) fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = stream.split_once(':') else {
        return false;
    };
    sys::fd::metadata(&std::io::stderr())
        .is_ok_and(|is| device.parse() == Ok(is.dev()) && inode.parse() == Ok(is.ino()))
}
