//! Starts a program: fork(2), and execve(2) in the child.
//!
//! `std::process::Command` cannot do what a supervisor needs: sockets that stay open in one child and in no
//! other, the signal dispositions and mask that this process was started with, an environment that is built
//! before the fork, and the step at which a start failed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::retry_on_intr;
use rustix::process::WaitOptions;

use super::execvp::Search;
use super::kill;
use super::pid_env::{self, PidEnv};
use crate::sys::limits::ChildLimit;
use crate::sys::signal_state::SignalState;
use crate::types::{Identity, Pid, Signal};

/// A program to start.
pub(crate) struct Program<'a> {
    /// Its arguments. The first is the program: it is searched for in the PATH of `environment`, and a file
    /// of unknown format is given to the shell, execvp(3).
    pub(crate) argv: &'a [CString],
    /// All its variables, as `NAME=VALUE`.
    pub(crate) environment: &'a [CString],
    /// The names of more variables, whose value is the program's own pid.
    pub(crate) pid_env: &'a [&'a str],
    /// Its working directory; a relative program is searched for from there.
    pub(crate) dir: Option<&'a CStr>,
    /// The user and groups it runs as; `None` for those of this process.
    pub(crate) identity: Option<&'a Identity>,
    /// Descriptors that it inherits on the same numbers, besides 0, 1 and 2.
    pub(crate) keep: &'a [RawFd],
    /// Its standard streams, on numbers above 2; `None` for that of this process.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    /// The first argument is its path, and a file of unknown format is an error, execve(2).
    pub(crate) exact: bool,
    /// Whether it leads a process group of its own, and so gets no Ctrl-C from the terminal.
    pub(crate) own_group: bool,
    /// The `cgroup.procs` of the cgroup that it moves to; `None` for that of this process.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChildError {
    pub(crate) step: ChildStep,
    pub(crate) errno: Errno,
}

/// The steps that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChildStep {
    /// pipe(2) or fork(2), in the parent.
    Fork,
    /// dup2(2) or fcntl(2), in the child.
    Descriptors,
    /// setgroups(2), setresgid(2) or setresuid(2).
    Identity,
    /// chdir(2).
    Chdir,
    /// execve(2).
    Exec,
}

/// How long chdir(2) and execve(2) may take. A file system that hangs must not block the supervisor.
const EXEC_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a program, and returns its pid once it runs.
///
/// # Errors
/// The first step that failed. `Exec` with ETIMEDOUT if the program does not run after 5 seconds.
pub(crate) fn spawn(program: &Program<'_>) -> Result<Pid, ChildError> {
    let at_fork = |errno| ChildError {
        step: ChildStep::Fork,
        errno,
    };
    let mut child = Child::new(program);
    // A successful exec closes it; otherwise the child writes its error to it.
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(at_fork)?;
    // SAFETY: the child calls only functions that are allowed after fork (see there), and ends in exec or
    // _exit.
    match Errno::result(unsafe { libc::fork() }).map_err(at_fork)? {
        // SAFETY: this is the child.
        0 => unsafe {
            let error = child.run(program);
            error.write_and_exit(&write_end)
        },
        pid => {
            drop(write_end);
            wait_for_exec(pid, &read_end)
        }
    }
}

/// Waits for the end of the pipe, or for an error in it.
fn wait_for_exec(pid: Pid, pipe: &OwnedFd) -> Result<Pid, ChildError> {
    if !becomes_readable(pipe, EXEC_TIMEOUT) {
        let _ = kill(pid, Signal::KILL); // reaped like any unknown child
        return Err(ChildError {
            step: ChildStep::Exec,
            errno: Errno::ETIMEDOUT,
        });
    }
    let mut message = [0_u8; ChildError::SIZE];
    match read_fully(pipe, &mut message) {
        ChildError::SIZE => {
            reap(pid);
            Err(ChildError::from_bytes(message))
        }
        _ => Ok(pid), // end of file: it runs, or was killed, which wait(2) will report
    }
}

/// Whether the pipe has data, or has ended, within this time.
fn becomes_readable(pipe: &OwnedFd, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return true, // read(2) will wait instead
        }
    }
}

/// Everything that the child needs and must not allocate.
struct Child {
    argv: Vec<*const libc::c_char>,
    pid_env: Vec<PidEnv>,
    envp: Vec<*const libc::c_char>,
    /// `None` for a program by its exact path.
    search: Option<Search>,
    limit: Option<ChildLimit>,
    signals: SignalState,
}

impl Child {
    /// Holds pointers into `program`, which must outlive it.
    fn new(program: &Program<'_>) -> Child {
        let names = program.pid_env.iter();
        let pid_env: Vec<PidEnv> = names.map(|name| PidEnv::new(name)).collect();
        let search = || Search::new(program.argv, program.environment);
        Child {
            argv: null_terminated(program.argv),
            envp: pid_env::envp(program.environment.iter(), &pid_env),
            pid_env,
            search: (!program.exact).then(search),
            limit: ChildLimit::of(program.keep),
            signals: SignalState::at_start(),
        }
    }

    /// Runs the program. Returns only if a step failed.
    ///
    /// # Safety
    /// Must be called in a forked child, with the program that this was made of. Allocates nothing and takes
    /// no lock: the parent may have other threads.
    unsafe fn run(&mut self, program: &Program<'_>) -> ChildError {
        // SAFETY: system calls on integers and on memory that outlives them.
        unsafe {
            self.signals.restore_dispositions();
            if program.own_group {
                libc::setpgid(0, 0);
            }
            if let Some(procs) = program.cgroup {
                // Before the user changes, since the new one may have no right to. If it is refused, the
                // program stays in the cgroup of this process.
                libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
            }
            if !pass_fds(program) {
                return ChildError::last(ChildStep::Descriptors);
            }
            if let Some(limit) = self.limit {
                limit.apply(); // descriptors above the limit stay open
            }
            if program
                .identity
                .is_some_and(|identity| !set_identity(identity))
            {
                return ChildError::last(ChildStep::Identity);
            }
            if program.dir.is_some_and(|dir| libc::chdir(dir.as_ptr()) < 0) {
                return ChildError::last(ChildStep::Chdir);
            }
            self.pid_env.iter_mut().for_each(PidEnv::fill_in);
            self.signals.restore_mask();
            self.exec()
        }
    }

    /// # Safety
    /// As for [`Child::run`].
    unsafe fn exec(&mut self) -> ChildError {
        // SAFETY: both vectors end in a null pointer, and their strings outlive the call.
        let errno = unsafe {
            match &mut self.search {
                Some(search) => search.exec(self.envp.as_ptr()),
                None => {
                    let argv = self.argv.as_ptr();
                    libc::execve(*argv, argv, self.envp.as_ptr());
                    Errno::last()
                }
            }
        };
        ChildError {
            step: ChildStep::Exec,
            errno,
        }
    }
}

/// Puts the standard streams on their numbers, and has the other descriptors stay open across exec. Returns
/// whether that succeeded; otherwise errno has the reason.
///
/// # Safety
/// For a forked child.
unsafe fn pass_fds(program: &Program<'_>) -> bool {
    let streams = program.stdio.iter().zip(0..);
    let mut streams = streams.filter_map(|(fd, number)| Some(((*fd)?, number)));
    // SAFETY: system calls on integers. The child runs no code of the owners of these descriptors.
    unsafe {
        streams.all(|(fd, number)| libc::dup2(fd.as_raw_fd(), number) >= 0)
            && (program.keep.iter()).all(|fd| libc::fcntl(*fd, libc::F_SETFD, 0) >= 0)
    }
}

/// Returns whether the user and the groups were set; otherwise errno has the reason.
///
/// # Safety
/// For a forked child, which has one thread: the C library would change other threads, too.
unsafe fn set_identity(identity: &Identity) -> bool {
    let Identity {
        user,
        group,
        groups,
        ..
    } = identity;
    // SAFETY: system calls on integers, and on a vector that outlives them.
    unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) == 0
            && libc::setresgid(*group, *group, *group) == 0
            && libc::setresuid(*user, *user, *user) == 0
    }
}

impl ChildError {
    /// The step, and errno.
    const SIZE: usize = 1 + size_of::<i32>();

    /// `step` failed, for the reason in errno.
    fn last(step: ChildStep) -> ChildError {
        let errno = Errno::last();
        ChildError { step, errno }
    }

    /// Sends the error to the parent. Allocates nothing.
    ///
    /// # Safety
    /// For a forked child, which it ends without running destructors.
    unsafe fn write_and_exit(self, pipe: &OwnedFd) -> ! {
        let [a, b, c, d] = (self.errno as i32).to_ne_bytes();
        let message: [u8; ChildError::SIZE] = [self.step as u8, a, b, c, d];
        // SAFETY: writes from an array of this length, then ends the process.
        unsafe {
            libc::write(pipe.as_raw_fd(), message.as_ptr().cast(), message.len());
            libc::_exit(255)
        }
    }

    fn from_bytes([step, a, b, c, d]: [u8; ChildError::SIZE]) -> ChildError {
        let step = match step {
            1 => ChildStep::Descriptors,
            2 => ChildStep::Identity,
            3 => ChildStep::Chdir,
            4 => ChildStep::Exec,
            _ => ChildStep::Fork,
        };
        let errno = Errno::from_raw(i32::from_ne_bytes([a, b, c, d]));
        ChildError { step, errno }
    }
}

fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn read_fully(from: &OwnedFd, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match nix::unistd::read(from, rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    filled
}

/// Waits for the end of a child that has reported an error.
fn reap(pid: Pid) {
    let pid = rustix::process::Pid::from_raw(pid);
    let _ = retry_on_intr(|| rustix::process::waitpid(pid, WaitOptions::empty()));
}
