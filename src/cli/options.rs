//! The options, declared once: parsing, `--help`, the manual page and the completions come from here.

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
    /// TCP socket to listen on: PORT, HOST:PORT or [IPV6]:PORT. `u` before the port number: UDP.
    /// `=FD` at the end: on this descriptor. Port 0: the kernel chooses. fd:NAME: the inherited
    /// socket of that name. May be repeated
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = SOCKETS)]
    pub(super) port: Vec<PortSpec>,

    /// Unix stream socket to listen on. May be repeated
    #[arg(long, value_name = "PATH", action = ArgAction::Append, value_parser = PathParser,
          value_hint = ValueHint::FilePath, help_heading = SOCKETS)]
    pub(super) path: Vec<PathSpec>,

    /// Permissions of the files of unix sockets, octal. Connecting needs write permission
    #[arg(long, value_name = "MODE", default_value = "0777", value_parser = parse_mode,
          help_heading = SOCKETS)]
    pub(super) path_mode: u32,

    /// Owner of the files of unix sockets, name or number. Default: the user that runs start_server
    #[arg(long, value_name = "USER", value_parser = find_user, help_heading = SOCKETS)]
    pub(super) path_user: Option<u32>,

    /// Group of the files of unix sockets, name or number
    #[arg(long, value_name = "GROUP", value_parser = find_group, help_heading = SOCKETS)]
    pub(super) path_group: Option<u32>,

    /// Length of the queue of connections to accept, listen(2). 0: the system's maximum,
    /// net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SOCKETS)]
    pub(super) backlog: u32,

    /// Directory to start workers in. Looked up at each start; a relative PROGRAM is searched from
    /// there
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath, help_heading = WORKERS)]
    pub(super) dir: Option<PathBuf>,

    /// User to run workers as, name or number, with the user's groups, HOME, USER, LOGNAME and
    /// SHELL. Only for root. Default: the user that runs start_server
    #[arg(long, value_name = "USER", help_heading = WORKERS)]
    pub(super) user: Option<String>,

    /// Group to run workers as, name or number. Only for root. Default: the groups of --user
    #[arg(long, value_name = "GROUP", help_heading = WORKERS)]
    pub(super) group: Option<String>,

    /// Directory with one file per environment variable of the workers. Read before each start.
    /// Overrides the environment; ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL and KILL_OLD_DELAY in
    /// it override their options [env: ENVDIR]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = WORKERS)]
    pub(super) envdir: Option<PathBuf>,

    /// When a new worker is ready. `notify`: it sends READY=1, sd_notify(3). `alive`: it has lived
    /// for --interval. `auto`: whichever comes first
    #[arg(long, value_name = "HOW", default_value = "auto", hide_possible_values = true,
          value_parser = one_of::<Readiness>(&["auto", "alive", "notify"]), help_heading = RELOADS)]
    pub(super) ready: Readiness,

    /// With --ready=notify: time for a new worker to send READY=1. After that it is stopped and has
    /// failed. EXTEND_TIMEOUT_USEC=, sd_notify(3), extends the time
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = parse_span,
          help_heading = RELOADS)]
    pub(super) start_timeout: Duration,

    /// How long a new worker must live to be ready, and the least time from one attempt to the next
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = parse_seconds,
          help_heading = RELOADS)]
    pub(super) interval: Duration,

    /// Give a reload up after N failed attempts: the old workers stay. Without old workers, exit
    /// with status 1. 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = RELOADS)]
    pub(super) start_attempts: u32,

    /// Delay between the readiness of a new worker and the signal to the old ones. Default: 0, with
    /// --enable-auto-restart 5 [env: KILL_OLD_DELAY]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) kill_old_delay: Option<Duration>,

    /// Start a new generation every --auto-restart-interval [env: ENABLE_AUTO_RESTART]
    #[arg(long, help_heading = RELOADS)]
    pub(super) enable_auto_restart: bool,

    /// Time from the readiness of a generation to the next automatic restart. Default: 360 [env:
    /// AUTO_RESTART_INTERVAL]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) auto_restart_interval: Option<Duration>,

    /// Shell command to run before each reload, in the directory, environment and as the user of a
    /// worker. If it fails, the reload has failed and no worker is started
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString,
          help_heading = RELOADS)]
    pub(super) check_cmd: Option<OsString>,

    /// Time for --check-cmd. After that it is killed and has failed
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = parse_span,
          help_heading = RELOADS)]
    pub(super) check_timeout: Duration,

    /// Signal to old workers after a reload
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    pub(super) signal_on_hup: Signal,

    /// Signal to all workers when start_server receives SIGTERM
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    pub(super) signal_on_term: Signal,

    /// Kill a worker that is still alive so long after its signal, with its process tree. Default:
    /// never; 10 for a worker that was not ready in time or is stuck
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    pub(super) stop_timeout: Option<Duration>,

    /// Replace a worker that does not send WATCHDOG=1 at least this often, sd_watchdog_enabled(3).
    /// It gets SIGABRT. Default: off
    #[arg(long, value_name = "SECS", value_parser = parse_span, help_heading = RELOADS)]
    pub(super) worker_watchdog: Option<Duration>,

    /// Control socket for --restart, --stop, --status, --upgrade and Varlink clients. Only root and
    /// the user that runs start_server can connect
    #[arg(long, value_name = "PATH", value_parser = PathParser, value_hint = ValueHint::FilePath,
          help_heading = FILES)]
    pub(super) control: Option<PathSpec>,

    /// File for the pid of start_server, locked while it runs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) pid_file: Option<PathBuf>,

    /// File that lists the live workers, one line GENERATION:PID each. If start_server is killed,
    /// the next start with this file takes them over
    // The aliases were abbreviations of this option before --status existed.
    #[arg(long, aliases = ["stat", "statu"], value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) status_file: Option<PathBuf>,

    /// File to append all output to, or `| COMMAND` to pipe it to. SIGUSR1 reopens the file
    #[arg(long, value_name = "FILE", value_parser = LogParser,
          value_hint = ValueHint::FilePath, help_heading = FILES)]
    pub(super) log_file: Option<LogFileSpec>,

    /// Where the messages of start_server go. `journal`: to the journal, with fields. `stderr`.
    /// `auto`: to the journal if standard error is connected to it
    #[arg(long, value_name = "WHERE", default_value = "auto", hide_possible_values = true,
          value_parser = one_of::<LogTarget>(&["auto", "journal", "stderr"]), help_heading = FILES)]
    pub(super) log_target: LogTarget,

    /// Run in the background. Returns when the first worker is ready (status 0) or has failed.
    /// Needs --log-file
    #[arg(long, help_heading = FILES)]
    pub(super) daemonize: bool,

    /// Show debug messages and fields. Twice: trace messages, too
    #[arg(short, long, action = ArgAction::Count, help_heading = FILES)]
    pub(super) verbose: u8,

    /// Lowest level of messages that are shown: off, error, warn, info, debug or trace. Default:
    /// info
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, help_heading = FILES,
          value_parser = one_of::<LevelFilter>(&["off", "error", "warn", "info", "debug", "trace"]))]
    pub(super) log_level: Option<LevelFilter>,

    /// Reload a running supervisor and wait for the outcome. Fails if the reload fails. Needs
    /// --control; or --pid-file and --status-file, which do not show a failed reload
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) restart: bool,

    /// Stop a running supervisor and wait until it has exited. Needs --control or --pid-file
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) stop: bool,

    /// Print the state of a running supervisor and its workers. Needs --control
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) status: bool,

    /// Replace a running supervisor by the release that is now in its program file. Workers and
    /// sockets stay. Fails, and changes nothing, if that release cannot take over. Needs --control
    #[arg(long, group = "command", help_heading = COMMANDS)]
    pub(super) upgrade: bool,

    /// With --status: as JSON
    #[arg(long, conflicts_with = "metrics", help_heading = COMMANDS)]
    pub(super) json: bool,

    /// With --status: as Prometheus metrics
    #[arg(long, help_heading = COMMANDS)]
    pub(super) metrics: bool,

    /// With --restart: what to wait for. `ready`: the new worker has taken over. `drained`: the old
    /// workers have exited, too
    #[arg(long, value_name = "STATE", default_value = "drained", hide_possible_values = true,
          value_parser = one_of::<Until>(&["ready", "drained"]), help_heading = COMMANDS)]
    pub(super) until: Until,

    /// How long --restart, --stop, --status and --upgrade wait. Default: no limit
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = COMMANDS)]
    pub(super) timeout: Option<Duration>,

    /// Print whether this program understands the state of the supervisor that has started it. For
    /// an upgrade only
    #[arg(long, hide = true)]
    pub(super) preflight: bool,

    /// Print a generated document. `man`: the manual page. `complete-bash`, `complete-zsh`,
    /// `complete-fish`: completions. `units`: a .service and a .socket unit for systemd, made from
    /// the other options
    #[arg(long, value_name = "WHAT", hide_possible_values = true, help_heading = PRODUCTS,
          conflicts_with = "command")]
    pub(super) generate: Option<Product>,

    /// With --generate=units: name of the units. Default: the name of PROGRAM
    #[arg(long, value_name = "NAME", help_heading = PRODUCTS)]
    pub(super) name: Option<String>,

    /// With --generate=units: the service manager that the units are for, `system` or `user`
    /// (systemctl --user). Default: `system` for root, else `user`
    #[arg(long, value_name = "SCOPE", hide_possible_values = true, help_heading = PRODUCTS)]
    pub(super) scope: Option<Scope>,

    /// The server program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, hide = true,
          value_hint = ValueHint::CommandWithArguments)]
    pub(super) program: Vec<OsString>,
}

impl Options {
    /// The manager that the generated units are for. By default, one to which the calling user may give them.
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
SECS is a number of seconds, fractions allowed, or has a unit: 0.2, 300ms, 2s, 5m, 1h.

Signals: HUP starts a new generation and, when it is ready, stops the old one. TERM, INT and QUIT
stop all workers and exit; a second one is passed on to all workers again. USR1 reopens the log
file. USR2 upgrades, as --upgrade does.

Workers get their sockets in SERVER_STARTER_PORT=KEY=FD;KEY=FD, and in LISTEN_FDS, LISTEN_FDNAMES
and LISTEN_PID as from systemd; the number of their generation in SERVER_STARTER_GENERATION.

Exit status: 0 stopped on request, or done; 1 failed; 2 wrong usage. The commands for a running
supervisor also: 3 no supervisor is running, 4 timed out.";

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
