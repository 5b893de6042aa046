//! A handler that notes a signal and makes a descriptor readable for good.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{process, ptr};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction,
};

/// What is written into the first end can be read from the second. Never closed, because the handler
/// may run at any time; never read, so that it stays readable.
static EVENT: OnceLock<Event> = OnceLock::new();

struct Event {
    writable: UnixStream,
    readable: UnixStream,
    /// Whose it is. A child that was forked and does not exec shares it, but not its signals.
    pid: u32,
}

/// The first signal that came, 0 before.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// What becomes readable with the first signal; made by the first call.
pub(crate) fn event() -> io::Result<&'static UnixStream> {
    loop {
        if let Some(event) = EVENT.get() {
            return Ok(&event.readable);
        }
        let (writable, readable) = UnixStream::pair()?;
        let pid = process::id();
        // If another thread was faster, its pair is the one.
        let _ = EVENT.set(Event {
            writable,
            readable,
            pid,
        });
    }
}

/// The first signal noted.
pub(crate) fn first() -> Option<c_int> {
    Some(FIRST.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
}

/// Does what the handler does.
pub(crate) fn note(signal: c_int) {
    let first = FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if let (Ok(_), Some(event)) = (first, EVENT.get()) {
        if event.pid == process::id() {
            let _ = (&event.writable).write(b"!"); // one byte in all its life: there is room
        }
    }
}

/// Only what signal-safety(7) allows: atomics, getpid(2), and send(2), which std's `write` is
/// here. `OnceLock::get` is one atomic load.
extern "C" fn handler(signal: c_int) {
    let errno = Errno::last_raw();
    note(signal);
    Errno::set_raw(errno);
}

/// What is done about a signal.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// Leave it alone where it was ignored before.
    pub(crate) stays_ignored: bool,
    /// The second one has its default effect.
    pub(crate) once: bool,
}

/// Installs the handler, and unblocks the signal in this thread.
pub(crate) fn handle(signal: Signal, manner: Manner) -> nix::Result<()> {
    if manner.stays_ignored && is_ignored(signal)? {
        return Ok(());
    }
    let mut flags = SaFlags::SA_RESTART;
    flags.set(SaFlags::SA_RESETHAND, manner.once);
    let ours = SigAction::new(SigHandler::Handler(handler), flags, SigSet::empty());
    // SAFETY: the handler is async-signal-safe (see there), and lives as long as the program.
    unsafe { sigaction(signal, &ours) }?;
    let signals = SigSet::from(signal);
    pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&signals), None)
}

fn is_ignored(signal: Signal) -> nix::Result<bool> {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, sigaction(2) only writes the present one to where we say.
    let result = unsafe { libc::sigaction(signal as c_int, ptr::null(), now.as_mut_ptr()) };
    Errno::result(result)?;
    // SAFETY: it succeeded, so it has written.
    Ok(unsafe { now.assume_init() }.sa_sigaction == libc::SIG_IGN)
}
