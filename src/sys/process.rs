//! fork(2), exec(3) and wait(2).
//!
//! Our own fork and exec instead of `std::process::Command`, because a supervisor needs what that
//! keeps to itself: sockets that stay open in one child and in no other, signal dispositions and mask as
//! this process got them, an environment made before the fork, and, if it fails, at which step.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::execvp::Search;
use super::limits::Allowance;
use super::pid_env::{self, PidEnv};
use super::signal_state::SignalState;
use crate::types::{Identity, Pid, Signal};

/// A program to be started.
pub(crate) struct Program<'a> {
    /// Its arguments; the first is the program, looked up in `environment`'s PATH; a file that is no
    /// program is given to the shell, execvp(3).
    pub(crate) argv: &'a [CString],
    /// `NAME=VALUE`, all of them.
    pub(crate) environment: &'a [CString],
    /// More variables, whose value is the program's own pid.
    pub(crate) pid_env: &'a [&'a str],
    /// Where to start it; a relative program is looked up from there.
    pub(crate) dir: Option<&'a CStr>,
    /// Who it is to be; none: who we are.
    pub(crate) identity: Option<&'a Identity>,
    /// Descriptors it keeps, besides 0, 1 and 2, on the same numbers.
    pub(crate) keep: &'a [RawFd],
    /// What to put on 0, 1 and 2; none: what we have there. Their own numbers are above 2.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    /// The first argument is its path, and a file that is no program is an error, execve(2).
    pub(crate) exact: bool,
    /// Whether it leads a process group of its own, out of the reach of the terminal's Ctrl-C.
    pub(crate) own_group: bool,
    /// The `cgroup.procs` of the cgroup that it moves to; `None`: it stays in ours.
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

/// Starts a program and returns once it runs, or has failed to.
pub(crate) fn spawn(program: &Program<'_>) -> Result<Pid, ChildError> {
    let at_fork = |errno| ChildError {
        step: ChildStep::Fork,
        errno,
    };
    let argv = null_terminated(program.argv);
    let mut pid_env: Vec<PidEnv> = program
        .pid_env
        .iter()
        .map(|name| PidEnv::new(name))
        .collect();
    let environment = pid_env::block(program.environment.iter(), &pid_env);
    let mut search = (!program.exact).then(|| Search::new(program.argv, program.environment));
    let allowance = Allowance::of(program.keep);
    // Closed by a successful exec; carries step and errno of a failed one.
    let (verdict, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(at_fork)?;

    // SAFETY: in the child only functions that are safe after fork are called (see there), and it
    // ends in exec or _exit.
    match Errno::result(unsafe { libc::fork() }).map_err(at_fork)? {
        0 => {
            let (argv, environment) = (argv.as_ptr(), environment.as_ptr());
            // SAFETY: we are in the child; the vectors are null-terminated and outlive the call.
            let failed = unsafe {
                let pid_env = &mut pid_env;
                let search = search.as_mut();
                become_program(program, allowance, pid_env, search, argv, environment)
            };
            let word = [failed.step as u8]
                .into_iter()
                .chain((failed.errno as i32).to_ne_bytes());
            let mut message = [0_u8; 5];
            message
                .iter_mut()
                .zip(word)
                .for_each(|(to, from)| *to = from);
            // SAFETY: writes 5 bytes of our stack; then ends without running any destructor.
            unsafe {
                libc::write(tell.as_raw_fd(), message.as_ptr().cast(), message.len());
                libc::_exit(255)
            }
        }
        pid => {
            drop(tell);
            if !ends_within(&verdict, EXEC_TIME) {
                let _ = kill(pid, Signal::KILL); // reaped as any stranger, when it goes
                return Err(ChildError {
                    step: ChildStep::Exec,
                    errno: Errno::ETIMEDOUT,
                });
            }
            let mut message = [0_u8; 5];
            match read_fully(&verdict, &mut message) {
                5 => {
                    reap(pid);
                    Err(decode(message))
                }
                _ => Ok(pid), // end of file: it runs (or was killed: wait() will tell)
            }
        }
    }
}

/// How long chdir and exec may take: a file system that hangs must not hang the supervisor.
const EXEC_TIME: Duration = Duration::from_secs(5);

/// Whether there is something to read, or the end, before the time is up.
fn ends_within(pipe: &OwnedFd, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return true, // read() will wait instead
        }
    }
}

/// The child's side. Returns only if something failed.
///
/// # Safety
/// Must be called in a forked child. Allocates nothing and takes no lock: the parent may be a
/// program with other threads.
unsafe fn become_program(
    program: &Program<'_>,
    allowance: Option<Allowance>,
    pid_env: &mut [PidEnv],
    search: Option<&mut Search>,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> ChildError {
    let failed = |step| ChildError {
        step,
        errno: Errno::last(),
    };
    let signals = SignalState::at_start();
    // SAFETY: plain system calls on integers and on memory that outlives them.
    let errno = unsafe {
        signals.restore_dispositions();
        if program.own_group {
            libc::setpgid(0, 0);
        }
        if let Some(procs) = program.cgroup {
            // Before the user changes, who may have no right to. A refusal leaves it in our cgroup.
            libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
        }
        for (number, fd) in program.stdio.iter().enumerate() {
            if let Some(fd) = fd {
                if libc::dup2(fd.as_raw_fd(), number as RawFd) < 0 {
                    return failed(ChildStep::Descriptors);
                }
            }
        }
        for fd in program.keep {
            if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 {
                return failed(ChildStep::Descriptors);
            }
        }
        if let Some(allowance) = allowance {
            allowance.take(); // descriptors beyond it stay open
        }
        if let Some(identity) = program.identity {
            if !become_user(identity) {
                return failed(ChildStep::Identity);
            }
        }
        if let Some(dir) = program.dir {
            if libc::chdir(dir.as_ptr()) < 0 {
                return failed(ChildStep::Chdir);
            }
        }
        pid_env.iter_mut().for_each(PidEnv::fill_in);
        signals.restore_mask();
        match search {
            Some(search) => search.exec(environment),
            None => {
                libc::execve(*argv, argv, environment);
                Errno::last()
            }
        }
    };
    ChildError {
        step: ChildStep::Exec,
        errno,
    }
}

/// Says whether it has, else errno says why not.
///
/// # Safety
/// For a forked child, which has one thread: the C library would have others follow.
unsafe fn become_user(identity: &Identity) -> bool {
    let Identity {
        user,
        group,
        groups,
        ..
    } = identity;
    // SAFETY: plain system calls on numbers, and on a vector that outlives them.
    unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) == 0
            && libc::setresgid(*group, *group, *group) == 0
            && libc::setresuid(*user, *user, *user) == 0
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

fn decode(message: [u8; 5]) -> ChildError {
    let [step, a, b, c, d] = message;
    let step = match step {
        1 => ChildStep::Descriptors,
        2 => ChildStep::Identity,
        3 => ChildStep::Chdir,
        4 => ChildStep::Exec,
        _ => ChildStep::Fork,
    };
    ChildError {
        step,
        errno: Errno::from_raw(i32::from_ne_bytes([a, b, c, d])),
    }
}

/// Waits for a child that is about to end.
fn reap(pid: Pid) {
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0 && Errno::last() == Errno::EINTR {}
}

/// One child that has ended, with its raw wait status; none if there is none just now.
///
/// Raw, since that is what goes to the log, and since nix's `waitpid` loses the status of a child
/// that was killed by a real-time signal.
pub(crate) fn next_dead_child() -> Option<(Pid, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: writes one int to our stack.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            0 => return None,
            pid if pid > 0 => return Some((pid, status)),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return None, // ECHILD: we have no children
        }
    }
}

/// Sends a signal to a child of ours that has not been reaped, kill(2).
pub(crate) fn kill(pid: Pid, signal: Signal) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::kill(pid, signal.number()) }).map(drop)
}

/// The same for a child that leads a process group of its own, and all in that group.
pub(crate) fn kill_group(leader: Pid, signal: Signal) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::kill(-leader, signal.number()) }).map(drop)
}

/// How a child ended, in words: `exit code 1`, `killed by KILL`.
pub(crate) fn describe_status(status: i32) -> String {
    match killed_by(status) {
        Some(signal) => format!("killed by {signal}"),
        None => format!("exit code {}", exit_code(status)),
    }
}

/// The same of a worker. `None` if it was not a child, so that its parent has got the status.
pub(crate) fn describe_end(status: Option<i32>) -> String {
    status.map_or("it was not our child".to_owned(), describe_status)
}

/// The signal that killed a child, from its raw wait status.
pub(crate) fn killed_by(status: i32) -> Option<Signal> {
    Signal::from_number(libc::WTERMSIG(status)).filter(|_| libc::WIFSIGNALED(status))
}

/// What a child that was not killed gave to exit(3), from its raw wait status.
pub(crate) fn exit_code(status: i32) -> i32 {
    libc::WEXITSTATUS(status)
}
