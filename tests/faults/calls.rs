//! The errors that a correct system call may return, according to its manual page: because of a full table, disk or
//! queue, a signal, a security module or an older kernel.

/// The errors to try. Empty for a call that always succeeds, or that is not the supervisor's own.
pub(crate) fn errors(name: &str, text: &str) -> &'static [&'static str] {
    match name {
        "open" | "openat" => &["EACCES", "EMFILE", "ENOSPC", "EINTR"],
        "read" | "pread64" => &["EINTR", "EIO", "EAGAIN"],
        "write" | "writev" => &["EINTR", "EAGAIN", "ENOSPC", "EPIPE", "EIO"],
        // strace does not make the call, so the descriptor stays open, which Linux never does. Closing a directory
        // cannot fail otherwise: the standard library takes another error for a bug and panics.
        "close" if text.contains("/env>") => &["EINTR"],
        "close" => &["EINTR", "EIO"],
        // made by the standard library before each close, in a debug build
        "fcntl" if text.contains("F_GETFD") => &[],
        "fcntl" if text.contains("F_GET_SEALS") => &[], // fails without seals, or without a memfd
        "fcntl" => &["EMFILE", "EINVAL", "EPERM"],
        "dup" | "dup2" | "dup3" => &["EMFILE", "EBUSY", "EINTR"],
        "ioctl" => &["EINTR", "EPERM"],
        "stat" | "lstat" | "fstat" | "newfstatat" | "statx" | "readlink" | "access" => {
            &["EACCES", "ENOENT", "ENOMEM", "EIO"]
        }
        "mkdir" | "mkdirat" => &["EACCES", "ENOSPC", "EROFS"],
        "unlink" | "unlinkat" | "rmdir" => &["EACCES", "EROFS", "EIO"],
        "rename" | "renameat" | "renameat2" | "link" => &["EACCES", "ENOSPC", "EIO"],
        "chown" | "lchown" | "fchown" | "fchownat" | "chmod" | "fchmodat" => &["EPERM", "EROFS"],
        "ftruncate" => &["EINTR", "EIO", "EPERM"],
        "lseek" => &["EINVAL", "EOVERFLOW"],
        "flock" => &["EINTR", "ENOLCK", "EAGAIN"],
        "getdents64" => &["EIO", "ENOENT"],
        "socket" => &["EMFILE", "ENFILE", "ENOBUFS", "EACCES"],
        "setsockopt" => &["ENOMEM", "ENOPROTOOPT", "EPERM"],
        "getsockopt" | "getsockname" | "getpeername" => &["ENOBUFS", "ENOMEM"],
        "bind" => &["EADDRINUSE", "EACCES", "ENOMEM", "EROFS"],
        "listen" => &["EADDRINUSE", "EPERM"],
        "connect" => &["EACCES", "EAGAIN", "ENOMEM"],
        "accept" | "accept4" => &[
            "EAGAIN",
            "EINTR",
            "ECONNABORTED",
            "EMFILE",
            "ENOBUFS",
            "EPERM",
        ],
        "recvmsg" | "recvfrom" => &["EAGAIN", "EINTR", "ENOMEM"],
        "sendmsg" | "sendto" => &["EAGAIN", "EINTR", "ENOBUFS", "ECONNREFUSED", "EPIPE"],
        "pipe" | "pipe2" => &["EMFILE", "ENFILE"],
        "clone" | "clone3" | "fork" | "vfork" => &["EAGAIN", "ENOMEM"],
        "wait4" | "waitid" | "clock_nanosleep" | "nanosleep" => &["EINTR"],
        "poll" | "ppoll" => &["EINTR", "ENOMEM"],
        "timerfd_create" | "signalfd4" | "eventfd2" => &["EMFILE", "ENOMEM", "ENODEV"],
        "inotify_init1" | "memfd_create" => &["EMFILE", "ENOMEM"],
        // nss-systemd(8), by which the C library looks up users, aborts if this fails
        "rt_sigprocmask" if !text.contains(" TERM ") => &[],
        "timerfd_settime" => &["EINVAL", "EPERM"],
        "inotify_add_watch" => &["ENOSPC", "EACCES", "ENOENT"],
        "inotify_rm_watch" | "rt_sigaction" | "rt_sigprocmask" => &["EINVAL"],
        "kill" | "pidfd_send_signal" => &["EPERM", "ESRCH"],
        "pidfd_open" => &["EMFILE", "ENOSYS", "ESRCH"],
        "prlimit64" | "getrlimit" | "setrlimit" => &["EPERM", "ENOSYS"],
        "close_range" => &["ENOSYS", "ENOMEM"],
        "getrandom" => &["EINTR", "ENOSYS"],
        "execve" | "execveat" => &["ENOENT", "EACCES", "ENOMEM"],
        // cannot fail
        "getpid" | "gettid" | "getppid" | "getuid" | "geteuid" | "getgid" | "getegid" | "umask"
        | "exit_group" | "sched_yield" => &[],
        // made by the C library for memory, without which a Rust program ends
        "brk" | "mmap" | "munmap" | "mprotect" | "mremap" | "madvise" | "futex" => &[],
        _ => &["EPERM", "ENOSYS"],
    }
}

/// The error in the words of strerror(3), which a message must have.
pub(crate) fn words(errno: &str) -> String {
    let known = (1..134).map(nix::errno::Errno::from_raw);
    let found = known.into_iter().find(|e| format!("{e:?}") == errno);
    let found = found.unwrap_or_else(|| panic!("no errno {errno}"));
    let text = std::io::Error::from(found).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Other words for an error that has a meaning of its own for this call.
pub(crate) fn means(name: &str, errno: &str) -> Option<&'static str> {
    match (name, errno) {
        // the end of a pipe stays open, and the wait for it times out
        ("close", _) => Some("timed out"),
        ("connect", "EACCES") => Some("it is a socket of another user"),
        ("connect", "EAGAIN") => Some("a process listens on it"), // its queue is full
        ("flock", "EAGAIN") => Some("is locked by a running supervisor"),
        // a file that is reported missing is not removed, and is then in the way
        ("statx", "ENOENT") => Some("Address already in use"),
        _ => None,
    }
}
