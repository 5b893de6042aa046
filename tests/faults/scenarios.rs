//! The scenarios: the options and the steps of each.

/// A step of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Until the first generation is ready and has answered.
    Start,
    /// `--status`.
    Status,
    /// HUP, until the next generation is alone.
    Reload,
    /// A reload by `--restart`.
    Restart,
    /// USR1, with the log file moved away.
    Rotate,
    /// KILL to the worker, until it is replaced.
    Death,
    /// KILL to the log command, until it is replaced.
    LogDeath,
    /// A file of the envdir is changed.
    Settings,
    /// TERM, until the supervisor has ended.
    Stop,
    /// A stop by `--stop`.
    AskToStop,
    /// USR2, until the supervisor has executed its program again.
    Upgrade,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Start => "start",
            Step::Status => "status",
            Step::Reload => "reload",
            Step::Restart => "restart",
            Step::Rotate => "rotate",
            Step::Death => "death",
            Step::LogDeath => "log-death",
            Step::Settings => "settings",
            Step::Stop => "stop",
            Step::AskToStop => "ask-to-stop",
            Step::Upgrade => "upgrade",
        }
    }
}

/// A supervisor's run from start to stop. `DIR` stands for its directory.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Whether the files of a killed supervisor exist at the start.
    pub(crate) stale_files: bool,
    /// Whether it needs root. Such scenarios come last.
    pub(crate) as_root: bool,
    /// The files that the supervisor may leave.
    pub(crate) leaves: &'static [&'static str],
    /// Whether standard input is a listening socket, `StandardInput=socket`.
    pub(crate) inherits: bool,
    pub(crate) steps: &'static [Step],
}

pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "files",
        about: "TCP, UDP and a unix socket, all files (those of a killed supervisor exist), \
                `--ready=notify`, `--check-cmd`, signals",
        options: &[
            "--port=127.0.0.1:0",
            "--port=127.0.0.1:u0",
            "--path=DIR/sock",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--log-file=DIR/log",
            "--control=DIR/control",
            "--ready=notify",
            "--interval=0",
            "--stop-timeout=3",
            "--check-cmd=true",
        ],
        environment: &[],
        stale_files: true,
        as_root: false,
        leaves: &[],
        inherits: false,
        steps: &[
            Step::Start,
            Step::Status,
            Step::Reload,
            Step::Rotate,
            Step::Death,
            Step::Reload,
            Step::Stop,
        ],
    },
    Scenario {
        name: "pipe",
        about: "a log command, an envdir, a socket moved by `=FD`, `--kill-old-delay`, the control \
                socket's clients instead of signals",
        options: &[
            "--port=127.0.0.1:0=7",
            "--path=DIR/sock",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--log-file=| cat >>DIR/log",
            "--control=DIR/control",
            "--envdir=DIR/env",
            "--interval=0.2",
            "--stop-timeout=3",
            "--kill-old-delay=0.1",
        ],
        environment: &[],
        stale_files: false,
        as_root: false,
        leaves: &[],
        inherits: false,
        steps: &[
            Step::Start,
            Step::Settings,
            Step::Restart,
            Step::Death,
            Step::Restart,
            Step::AskToStop,
        ],
    },
    Scenario {
        name: "log",
        about: "a log command that dies",
        options: &[
            "--path=DIR/sock",
            "--status-file=DIR/status",
            "--log-file=| cat >>DIR/log",
            "--ready=notify",
            "--interval=0",
            "--stop-timeout=3",
        ],
        environment: &[],
        stale_files: false,
        as_root: false,
        leaves: &[],
        inherits: false,
        steps: &[Step::Start, Step::LogDeath, Step::Reload, Step::Stop],
    },
    Scenario {
        name: "systemd",
        about: "an inherited socket, `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `FDSTORE`, workers of \
                their own watchdog",
        options: &[
            "--path=DIR/sock",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--control=DIR/control",
            "--ready=notify",
            "--interval=0",
            "--stop-timeout=3",
            "--worker-watchdog=60",
        ],
        environment: &[
            ("NOTIFY_SOCKET", "DIR/manager"),
            ("WATCHDOG_USEC", "400000"),
            ("FDSTORE", "8"),
        ],
        stale_files: false,
        as_root: false,
        leaves: &["sock"], // the socket is in the fd store, for the next start
        inherits: true,
        steps: &[
            Step::Start,
            Step::Reload,
            Step::Death,
            Step::Reload,
            Step::Stop,
        ],
    },
    Scenario {
        name: "upgrade",
        about: "an upgrade in place, SIGUSR2, to the same program",
        options: &[
            "--port=127.0.0.1:0",
            "--path=DIR/sock",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--log-file=DIR/log",
            "--control=DIR/control",
            "--ready=notify",
            "--interval=0",
            "--stop-timeout=3",
        ],
        environment: &[],
        stale_files: false,
        as_root: false,
        leaves: &[],
        inherits: false,
        steps: &[Step::Start, Step::Upgrade, Step::Reload, Step::Stop],
    },
    Scenario {
        name: "user",
        about: "files and workers of another user (of root, for other users may not be able to execute the \
                worker)",
        options: &[
            "--path=DIR/sock",
            "--path-user=0",
            "--path-group=0",
            "--pid-file=DIR/pid",
            "--status-file=DIR/status",
            "--user=0",
            "--group=0",
            "--ready=notify",
            "--interval=0",
            "--stop-timeout=3",
        ],
        environment: &[],
        stale_files: false,
        as_root: true,
        leaves: &[],
        inherits: false,
        steps: &[Step::Start, Step::Reload, Step::Stop],
    },
];
