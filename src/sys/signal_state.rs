//! The signal dispositions and the signal mask that this process was started with. Workers get the same.
//!
//! Both survive exec(2), and parents set them on purpose: systemd ignores SIGPIPE in services
//! (`IgnoreSIGPIPE=`, systemd.exec(5)) so that a restarted journal does not kill them, and nohup(1) ignores
//! SIGHUP. The runtime of Rust ignores SIGPIPE before `main`, so the state is read earlier, when the dynamic
//! loader or the C library's start-up code calls the functions in `.init_array`.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A bit for each signal from 1 to 64, as in `SigIgn:` and `SigBlk:` of proc_pid_status(5).
static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// The highest signal number of the kernel.
const HIGHEST: i32 = 64;

/// The size of the kernel's signal set, in bytes.
const SET_SIZE: usize = size_of::<u64>();

/// `SIG_IGN` as the kernel stores it.
const IGNORE: usize = libc::SIG_IGN;

/// The kernel's `struct sigaction`, which begins with the handler. It is smaller than this on every machine.
type SigAction = [usize; 16];

#[used]
#[unsafe(link_section = ".init_array")]
static READ_AT_START: extern "C" fn() = read;

/// Runs before the runtime and before `main`, on the only thread.
extern "C" fn read() {
    let mut blocked = 0_u64;
    let mut ignored = 0_u64;
    for number in 1..=HIGHEST {
        let mut action: SigAction = [0; 16];
        // Not sigaction(3): the C library refuses signals 32 and 33.
        // SAFETY: writes a disposition to `action`, which is larger than the structure.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                ptr::null::<SigAction>(),
                &mut action,
                SET_SIZE,
            )
        };
        ignored |= u64::from(action[0] == IGNORE) << (number - 1);
    }
    // SAFETY: writes the mask to a variable of its size.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::null::<u64>(),
            &mut blocked,
            SET_SIZE,
        )
    };
    IGNORED.store(ignored, Ordering::Relaxed);
    BLOCKED.store(blocked, Ordering::Relaxed);
}

/// The dispositions and the mask at the start of this process. They are saved for the next program in it,
/// which is started with those of a running supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalState {
    ignored: u64,
    blocked: u64,
}

impl SignalState {
    /// The state that this process was started with.
    pub(crate) fn at_start() -> SignalState {
        SignalState {
            ignored: IGNORED.load(Ordering::Relaxed),
            blocked: BLOCKED.load(Ordering::Relaxed),
        }
    }

    /// Has workers get this state, which the previous program in this process has saved.
    pub(crate) fn resume(self) {
        IGNORED.store(self.ignored, Ordering::Relaxed);
        BLOCKED.store(self.blocked, Ordering::Relaxed);
    }

    /// Sets each disposition to that of the start, ignored or the default.
    ///
    /// # Safety
    /// For a forked child, before exec: it removes the signal handlers of this program.
    pub(super) unsafe fn restore_dispositions(self) {
        for number in 1..=HIGHEST {
            let mut action: SigAction = [0; 16]; // all zeros: SIG_DFL without flags
            if self.ignored & (1 << (number - 1)) != 0 {
                action[0] = IGNORE;
            }
            // SAFETY: `action` is larger than the structure. The kernel refuses SIGKILL and SIGSTOP.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    number,
                    &action,
                    ptr::null_mut::<SigAction>(),
                    SET_SIZE,
                )
            };
        }
    }

    /// Sets the mask to that of the start.
    ///
    /// # Safety
    /// For a forked child, after [`restore_dispositions`](SignalState::restore_dispositions).
    pub(super) unsafe fn restore_mask(self) {
        // SAFETY: reads the mask from a variable of its size.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &self.blocked,
                ptr::null_mut::<u64>(),
                SET_SIZE,
            )
        };
    }
}
