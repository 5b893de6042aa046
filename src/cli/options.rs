//! The options, declared once: parsing, `--help` and all that is made from them come from here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueHint};
use server_starter::command::{Until, find_group, find_user, parse_seconds};
use server_starter::{LogFileSpec, LogTarget, PathSpec, PortSpec, Readiness, Signal};
use tracing_subscriber::filter::LevelFilter;

use super::unit_settings::Scope;
use super::values::{LogParser, PathParser, Product, one_of, parse_mode, parse_span};

/// Run a server, and restart it without losing a connection
#[derive(Parser)]
#[command(
    name = "start_server",
    version,
    override_usage = "start_server [OPTIONS] [--] PROGRAM [ARGS]...\n       \
                      start_server --restart|--stop|--status|--upgrade --control=PATH\n       \
                      start_server --restart --pid-file=FILE --status-file=FILE\n       \
                      start_server --stop --pid-file=FILE\n       \
                      start_server --generate=WHAT [OPTIONS] [PROGRAM [ARGS]...]",
    after_help = AFTER_HELP,
    infer_long_args = true,
    args_override_self = true,
    max_term_width = 100
)]
pub(super) struct Options {
    /// TCP port, HOST:PORT or [V6]:PORT to listen on, or fd:NAME, an inherited socket; may be
    /// repeated. `u` before the port number means UDP, `=FD` at the end puts the socket on that
    /// descriptor. Port 0: the kernel chooses
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = SOCKETS)]
    pub(super) port: Vec<PortSpec>,

    /// Unix stream socket to listen on; may be repeated
    #[arg(long, value_name = "PATH", action = ArgAction::Append, value_parser = PathParser,
          value_hint = ValueHint::FilePath, help_heading = SOCKETS)]
    pub(super) path: Vec<PathSpec>,

    /// Permissions of the files of unix sockets, octal: who may write to them may connect
    #[arg(long, value_name = "MODE", default_value = "0777", value_parser = parse_mode,
          help_heading = SOCKETS)]
    pub(super) path_mode: u32,

    /// Owner of the files of unix sockets, a name or a number. Default: the user this runs as
    #[arg(long, value_name = "USER", value_parser = find_user, help_heading = SOCKETS)]
    pub(super) path_user: Option<u32>,

    /// Group of the files of unix sockets, a name or a number
    #[arg(long, value_name = "GROUP", value_parser = find_group, help_heading = SOCKETS)]
    pub(super) path_group: Option<u32>,

    /// Length of the queue of connections that wait to be accepted, listen(2). 0: the system's
    /// maximum, net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SOCKETS)]
    pub(super) backlog: u32,

    /// Directory to start workers in, looked up anew each time; a relative PROGRAM is found from
    /// there
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath, help_heading = WORKERS)]
    pub(super) dir: Option<PathBuf>,

    /// User to run workers as, a name or a number; this program has to be root for that. With its
    /// groups, and HOME, USER, LOGNAME and SHELL
    #[arg(long, value_name = "USER", help_heading = WORKERS)]
    pub(super) user: Option<String>,

    /// Group to run workers as, a name or a number. Default: that of --user
    #[arg(long, value_name = "GROUP", help_heading = WORKERS)]
    pub(super) group: Option<String>,

    /// Directory with a file per environment variable of the workers; read before each start.
    /// Beats the environment, and ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL and KILL_OLD_DELAY in
    /// it beat their options [env: ENVDIR]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = WORKERS)]
    pub(super) envdir: Option<PathBuf>,

    /// What makes a new worker count as started: `notify`, it says READY=1, sd_notify(3); `alive`,
    /// it lives for --interval; `auto`, whichever comes first
    #[arg(long, value_name = "HOW", default_value = "auto", hide_possible_values = true,
          value_parser = one_of::<Readiness>(&["auto", "alive", "notify"]), help_heading = RELOADS)]
    pub(super) ready: Readiness,

    /// With --ready=notify: how long a new worker has to say READY=1. Then it is stopped, and has
    /// failed. It may ask for more time, EXTEND_TIMEOUT_USEC
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = parse_span,
          help_heading = RELOADS)]
    pub(super) start_timeout: Duration,

    /// How long a new worker must live to count as started, and the pause before the next try
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = parse_seconds,
          help_heading = RELOADS)]
    pub(super) interval: Duration,

    /// Give a reload up after N failed attempts: the old workers stay. If there are none, exit
    /// with status 1. 0: try for ever
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = RELOADS)]
    pub(super) start_attempts: u32,

    /// Pause between the readiness of new workers and the signal to the old ones. Default: 5 with
    /// --enable-auto-restart, else 0 [env: KILL_OLD_DELAY]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) kill_old_delay: Option<Duration>,

    /// Start a new generation at regular intervals [env: ENABLE_AUTO_RESTART]
    #[arg(long, help_heading = RELOADS)]
    pub(super) enable_auto_restart: bool,

    /// From one generation's readiness to the next automatic one. Default: 360
    /// [env: AUTO_RESTART_INTERVAL]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) auto_restart_interval: Option<Duration>,

    /// Shell command that is run before each reload where, as whom and with what workers are; if it
    /// fails, so has the reload, and no worker is started
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString,
          help_heading = RELOADS)]
    pub(super) check_cmd: Option<OsString>,

    /// How long --check-cmd may take. Then it is killed, and has failed
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = parse_span,
          help_heading = RELOADS)]
    pub(super) check_timeout: Duration,

    /// Signal to old workers after a reload
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    pub(super) signal_on_hup: Signal,

    /// Signal to all workers when this program gets SIGTERM
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    pub(super) signal_on_term: Signal,

    /// Send SIGKILL to a worker that has not left so long after its signal. Default: never, but 10 s
    /// for one that was never ready or is stuck
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) stop_timeout: Option<Duration>,

    /// Replace a worker that does not say WATCHDOG=1 at least this often, sd_watchdog_enabled(3). It
    /// gets SIGABRT. Default: none is watched
    #[arg(long, value_name = "SECS", value_parser = parse_span, help_heading = RELOADS)]
    pub(super) worker_watchdog: Option<Duration>,

    /// Control socket: where --restart, --stop, --status and --upgrade find the supervisor, and Varlink
    /// clients, if they are root or run as its user
    #[arg(long, value_name = "PATH", value_parser = PathParser, value_hint = ValueHint::FilePath,
          help_heading = FILES)]
    pub(super) control: Option<PathSpec>,

    /// File for the pid; locked as long as the supervisor lives
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) pid_file: Option<PathBuf>,

    /// File that lists the live workers, a line GENERATION:PID for each. By it the next start takes them
    /// over if the supervisor is killed
    // Abbreviations that were this option's before there was a --status.
    #[arg(long, aliases = ["stat", "statu"], value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) status_file: Option<PathBuf>,

    /// File to append all output to, or `| COMMAND` to pipe it to. SIGUSR1 reopens the file
    #[arg(long, value_name = "FILE", value_parser = LogParser,
          value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) log_file: Option<LogFileSpec>,

    /// Where this program's own lines go: `journal` (with fields), `stderr`, or `auto`: the journal
    /// if standard error leads there
    #[arg(long, value_name = "WHERE", default_value = "auto", hide_possible_values = true,
          value_parser = one_of::<LogTarget>(&["auto", "journal", "stderr"]), help_heading = FILES)]
    pub(super) log_target: LogTarget,

    /// Run in the background; returns when the first workers are ready (status 0) or have failed.
    /// Needs --log-file
    #[arg(long, help_heading = FILES)]
    pub(super) daemonize: bool,

    /// Show structured fields; twice: trace
    #[arg(short, long, action = ArgAction::Count, help_heading = FILES)]
    pub(super) verbose: u8,

    /// Least important messages shown: off, error, warn, info, debug or trace. Default: info
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, help_heading = FILES,
          value_parser = one_of::<LevelFilter>(&["off", "error", "warn", "info", "debug", "trace"]))]
    pub(super) log_level: Option<LevelFilter>,

    /// Have a running supervisor replace its workers, wait for it, and fail if it has failed. Needs
    /// --control; or --pid-file and --status-file, which cannot tell a failure
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) restart: bool,

    /// Have a running supervisor stop, and wait for it. Needs --control or --pid-file
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) stop: bool,

    /// Print how a running supervisor and its workers are. Needs --control
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) status: bool,

    /// Have a running supervisor make way for the file that it was started from, as that is now: another
    /// release goes on with its workers and sockets. Fails if that one would not. Needs --control
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) upgrade: bool,

    /// With --status: as JSON, for programs
    #[arg(long, conflicts_with = "metrics", help_heading = COMMANDS)]
    pub(super) json: bool,

    /// With --status: as Prometheus reads it
    #[arg(long, help_heading = COMMANDS)]
    pub(super) metrics: bool,

    /// What --restart waits for: `ready`, the new workers have taken over, or `drained`, the old
    /// ones have gone, too
    #[arg(long, value_name = "STATE", default_value = "drained", hide_possible_values = true,
          value_parser = one_of::<Until>(&["ready", "drained"]), help_heading = COMMANDS)]
    pub(super) until: Until,

    /// How long these commands wait. Default: as long as it takes; by files, as long as the
    /// supervisor lives, even if no new worker ever starts
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = COMMANDS)]
    pub(super) timeout: Option<Duration>,

    /// Print whether this program understands the state of the supervisor that has started it. For an
    /// upgrade only
    #[arg(long, hide = true)]
    pub(super) preflight: bool,

    /// Print something made from these options: `man`, the manual page; `complete-bash`,
    /// `complete-zsh` or `complete-fish`, completions; `units`, a .service and a .socket for
    /// systemd, from the other options given
    #[arg(long, value_name = "WHAT", hide_possible_values = true, help_heading = PRODUCTS,
          conflicts_with = "command")]
    pub(super) generate: Option<Product>,

    /// Name of the units. Default: the name of the program
    #[arg(long, value_name = "NAME", help_heading = PRODUCTS)]
    pub(super) name: Option<String>,

    /// Which service manager the units are for: `system`, or `user` for `systemctl --user`. Default: `system`
    /// for root, else `user`
    #[arg(long, value_name = "SCOPE", hide_possible_values = true, help_heading = PRODUCTS)]
    pub(super) scope: Option<Scope>,

    /// The server program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, hide = true,
          value_hint = ValueHint::CommandWithArguments)]
    pub(super) program: Vec<OsString>,
}

impl Options {
    /// The manager that whoever generates units can give them to without becoming another user.
    pub(super) fn scope(&self) -> Scope {
        let own = match nix::unistd::geteuid().is_root() {
            true => Scope::System,
            false => Scope::User,
        };
        self.scope.unwrap_or(own)
    }
}

/// The headings of `--help`, in order.
#[cfg(feature = "documents")]
pub(super) const HEADINGS: [&str; 6] = [SOCKETS, WORKERS, RELOADS, FILES, COMMANDS, PRODUCTS];

const SOCKETS: &str = "Sockets";
const WORKERS: &str = "Workers";
const RELOADS: &str = "Starting and stopping";
const FILES: &str = "Files and output";
const COMMANDS: &str = "Talking to a running supervisor";
const PRODUCTS: &str = "Manual, completions, units";

const AFTER_HELP: &str = "\
SECS is a number, fractions allowed, or has a unit: 0.2, 300ms, 2s, 5m, 1h.

Signals: HUP starts a new generation and, if it comes up, stops the old one. TERM, INT and QUIT
stop everything. USR1 reopens the log file. USR2 upgrades this program in place, as --upgrade does.

Workers find their sockets in SERVER_STARTER_PORT=KEY=FD;KEY=FD, and in LISTEN_FDS, LISTEN_FDNAMES
and LISTEN_PID as from systemd; their number in SERVER_STARTER_GENERATION.

Exit status: 0 stopped as asked, 1 failed, 2 usage; of --restart and the like also 3 no supervisor
is running, 4 timed out.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(args: &[&str]) -> Options {
        let args = std::iter::once("start_server").chain(args.iter().copied());
        Options::try_parse_from(args).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_declaration_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_end_at_the_program_and_at_two_dashes() {
        let cases: [(&[&str], &[&str]); 5] = [
            (
                &["--port=80", "prog", "--port=81", "-v"],
                &["prog", "--port=81", "-v"],
            ),
            (&["--", "prog", "--", "x"], &["prog", "--", "x"]),
            (&["prog", "--", "x"], &["prog", "--", "x"]),
            (&["--port", "80", "--", "--odd-name"], &["--odd-name"]),
            (&["prog", "--help"], &["prog", "--help"]),
        ];
        for (args, program) in cases {
            assert_eq!(options(args).program, program, "{args:?}");
        }
        assert!(Options::try_parse_from(["start_server", "--unknown", "prog"]).is_err());
    }

    #[test]
    fn prefixes_are_understood_and_the_last_value_wins() {
        let options = options(&["--int", "3", "--interval=0.5", "--back=7", "prog"]);
        assert_eq!(options.interval, Duration::from_millis(500));
        assert_eq!(options.backlog, 7);
    }
}
