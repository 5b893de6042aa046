//! The journal: entries with fields, systemd.journal-fields(7).
//!
//! tracing-journald blocks when the journal does not read, and drops what it cannot send. A supervisor must
//! not block, and its lines must not be lost. So this module has a duplicate of the socket, and checks
//! before each entry that the journal takes it. Otherwise the entry goes to standard error.

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

/// The socket of journald, to which tracing-journald sends.
const PATH: &str = "/run/systemd/journal/socket";

/// Where the supervisor's own log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogTarget {
    /// To the journal if standard error leads there, else to standard error.
    #[default]
    Auto,
    /// To the journal.
    Journal,
    /// To standard error, which `--log-file` may redirect.
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
    /// A duplicate of the layer's socket.
    socket: UnixDatagram,
}

/// From now on, entries go to the journal if `target` asks for it and journald runs. `redirected` tells that
/// standard error is about to be replaced by a log file. The sockets get the lowest free numbers, so this must
/// be called after all sockets for workers are on theirs.
pub(crate) fn connect(target: LogTarget, redirected: bool) {
    let wanted = match target {
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

/// The journal, if entries go there and it takes one now.
pub(super) fn listening() -> Option<&'static Layer> {
    if !WANTED.load(Ordering::Relaxed) {
        return None;
    }
    if JOURNAL.get().is_none() {
        let _ = JOURNAL.set(Journal::open().ok()?); // it did not run, or did not read
    }
    let journal = JOURNAL.get()?;
    takes_more(&journal.socket).ok()?;
    Some(&journal.layer)
}

impl Journal {
    fn open() -> io::Result<Journal> {
        let probe = UnixDatagram::unbound()?;
        takes_more(&probe)?; // the new layer sends a message, and would block
        // The layer does not give its socket away. The socket gets the lowest free number, which is the one
        // of the closed probe: there is one thread.
        let number = probe.as_raw_fd();
        drop(probe);
        let layer = Layer::new()?
            .with_field_prefix(None)
            .with_syslog_identifier("start_server".to_owned())
            .with_priority_mappings(PRIORITIES);
        let socket = UnixDatagram::from(sys::fd::dup_number(number)?);
        socket.set_nonblocking(true)?;
        Ok(Journal { layer, socket })
    }
}

/// By default, tracing-journald sends INFO as "notice".
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Fails unless the journal takes one more datagram at once. Connects again, since journald may have been
/// restarted.
fn takes_more(socket: &UnixDatagram) -> io::Result<()> {
    socket.connect(PATH)?;
    match sys::datagram::is_writable(socket)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether standard error leads to the journal: `JOURNAL_STREAM` has the device and inode of the stream,
/// systemd.exec(5).
pub(crate) fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = stream.split_once(':') else {
        return false;
    };
    sys::fd::metadata(&std::io::stderr())
        .is_ok_and(|is| device.parse() == Ok(is.dev()) && inode.parse() == Ok(is.ino()))
}
