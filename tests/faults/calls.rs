//! Which errors a system call may give that did nothing wrong, from its manual page: what a full
//! table, disk or queue, a signal, a security module or an older kernel make of it.

/// The errors to try; none: it always succeeds, or is not the supervisor's.
pub(crate) fn errors(name: &str, text: &str) -> &'static [&'static str] {
    match name {
        "open" | "openat" => &["EACCES", "EMFILE", "ENOSPC", "EINTR"],
        "read" | "pread64" => &["EINTR", "EIO", "EAGAIN"],
        "write" | "writev" => &["EINTR", "EAGAIN", "ENOSPC", "EPIPE", "EIO"],
        // strace does not make the call: the descriptor stays open, which Linux never lets happen.
        // And a directory has nothing to write back: Rust's library takes an error for a bug of its own.
        "close" if text.contains("/env>") => &["EINTR"],
        "close" => &["EINTR", "EIO"],
        // Asked by Rust's library before each close, in a debug build.
        "fcntl" if text.contains("F_GETFD") => &[],
        "fcntl" if text.contains("F_GET_SEALS") => &[], // it has some, or is no memfd
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
        // nss-systemd(8), which the C library asks for users, takes it for impossible and aborts.
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
        // They cannot fail.
        "getpid" | "gettid" | "getppid" | "getuid" | "geteuid" | "getgid" | "getegid" | "umask"
        | "exit_group" | "sched_yield" => &[],
        // Without memory any program of Rust's ends; mapping it is the C library's.
        "brk" | "mmap" | "munmap" | "mprotect" | "mremap" | "madvise" | "futex" => &[],
        _ => &["EPERM", "ENOSYS"],
    }
}

/// The error in strerror's words, which a message has to have.
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

/// Other words for an error that means something there, and not that something is wrong.
pub(crate) fn means(name: &str, errno: &str) -> Option<&'static str> {
    match (name, errno) {
        // The end of a pipe is waited for that does not come.
        ("close", _) => Some("timed out"),
        ("connect", "EACCES") => Some("it is a socket of somebody else"),
        ("connect", "EAGAIN") => Some("somebody listens on it"), // its queue is full
        ("flock", "EAGAIN") => Some("is locked by a running supervisor"),
        // What is said not to be there is not removed, and then it is.
        ("statx", "ENOENT") => Some("Address already in use"),
        _ => None,
    }
}
