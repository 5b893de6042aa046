//! A signal handler that records the first signal and makes a descriptor readable.

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

/// A socket pair. Never closed, because the handler may run at any time; never read, so that it stays
/// readable.
static EVENT: OnceLock<Event> = OnceLock::new();

struct Event {
    writable: UnixStream,
    readable: UnixStream,
    /// The process that created the pair. A forked child shares the pair, but not its parent's signals.
    pid: u32,
}

/// The first signal received; 0 before.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// The descriptor that becomes readable with the first signal. The first call creates it.
pub(crate) fn event() -> io::Result<&'static UnixStream> {
    loop {
        if let Some(event) = EVENT.get() {
            return Ok(&event.readable);
        }
        let (writable, readable) = UnixStream::pair()?;
        let pid = process::id();
        // If another thread was faster, its pair is used.
        let _ = EVENT.set(Event {
            writable,
            readable,
            pid,
        });
    }
}

/// The first signal recorded.
pub(crate) fn first_signal() -> Option<c_int> {
    Some(FIRST.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
}

/// Records a signal, if it is the first, and makes the descriptor readable. Async-signal-safe.
pub(crate) fn record(signal: c_int) {
    let first = FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if let (Ok(_), Some(event)) = (first, EVENT.get()) {
        if event.pid == process::id() {
            let _ = (&event.writable).write(b"!"); // never blocks: the only byte ever written
        }
    }
}

/// Calls only what signal-safety(7) allows: atomics, getpid(2), and std's `write`, which is write(2)
/// or send(2). `OnceLock::get` is one atomic load.
extern "C" fn handler(signal: c_int) {
    let errno = Errno::last_raw();
    record(signal);
    Errno::set_raw(errno);
}

/// How a signal is handled.
#[derive(Clone, Copy)]
pub(crate) struct Handling {
    /// Install no handler if the signal is ignored.
    pub(crate) keep_ignored: bool,
    /// The second signal has its default action (`SA_RESETHAND`).
    pub(crate) reset_after_first: bool,
}

/// Installs the handler, and unblocks the signal in the calling thread.
pub(crate) fn handle(signal: Signal, handling: Handling) -> nix::Result<()> {
    if handling.keep_ignored && is_ignored(signal)? {
        return Ok(());
    }
    let mut flags = SaFlags::SA_RESTART;
    flags.set(SaFlags::SA_RESETHAND, handling.reset_after_first);
    let ours = SigAction::new(SigHandler::Handler(handler), flags, SigSet::empty());
    // SAFETY: the handler is async-signal-safe (see `handler`), and exists as long as the program.
    unsafe { sigaction(signal, &ours) }?;
    let signals = SigSet::from(signal);
    pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&signals), None)
}

fn is_ignored(signal: Signal) -> nix::Result<bool> {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, sigaction(2) only writes the current action to the given memory.
    let result = unsafe { libc::sigaction(signal as c_int, ptr::null(), now.as_mut_ptr()) };
    Errno::result(result)?;
    // SAFETY: sigaction succeeded, so it has written the action.
    Ok(unsafe { now.assume_init() }.sa_sigaction == libc::SIG_IGN)
}
