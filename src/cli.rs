//! The options, declared once: parsing, `--help` and all that is made from them come from here.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};
use nix::unistd::{Group, User};
use server_starter::control::{Restart, Stop, Until};
use server_starter::units::{Signal, parse_seconds};
use server_starter::{Config, Destination, LogTarget, PathAccess, PathSpec, PortSpec};
use tracing_subscriber::filter::LevelFilter;

/// What the command line asks for.
pub(crate) struct Invocation {
    pub(crate) command: Command,
    pub(crate) log_level: LevelFilter,
}

/// One of the three things this program does.
pub(crate) enum Command {
    Start(Box<Config>),
    Restart(Restart),
    Stop(Stop),
}

/// Run a server, and restart it without losing a connection
#[derive(Parser)]
#[command(
    name = "start_server",
    version,
    override_usage = "start_server [OPTIONS] [--] PROGRAM [ARGS]...\n       \
                      start_server --restart --pid-file=FILE --status-file=FILE\n       \
                      start_server --stop --pid-file=FILE",
    after_help = AFTER_HELP,
    infer_long_args = true,
    args_override_self = true,
    max_term_width = 100
)]
struct Options {
    /// TCP port, HOST:PORT or [V6]:PORT to listen on; may be repeated. `u` before the port number
    /// means UDP, `=FD` after it puts the socket on that descriptor. Port 0: the kernel chooses
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = SOCKETS)]
    port: Vec<PortSpec>,

    /// Unix stream socket to listen on; may be repeated
    #[arg(long, value_name = "PATH", action = ArgAction::Append, value_parser = PathParser,
          help_heading = SOCKETS)]
    path: Vec<PathSpec>,

    /// Permissions of the files of unix sockets, octal: who may write to them may connect
    #[arg(long, value_name = "MODE", default_value = "0777", value_parser = parse_mode,
          help_heading = SOCKETS)]
    path_mode: u32,

    /// Owner of the files of unix sockets, a name or a number. Default: the user this runs as
    #[arg(long, value_name = "USER", value_parser = find_user, help_heading = SOCKETS)]
    path_user: Option<u32>,

    /// Group of the files of unix sockets, a name or a number
    #[arg(long, value_name = "GROUP", value_parser = find_group, help_heading = SOCKETS)]
    path_group: Option<u32>,

    /// Length of the queue of connections that wait to be accepted, listen(2). 0: the system's
    /// maximum, net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SOCKETS)]
    backlog: u32,

    /// Directory to start workers in, looked up anew each time; a relative PROGRAM is found from
    /// there
    #[arg(long, value_name = "PATH", help_heading = WORKERS)]
    dir: Option<PathBuf>,

    /// Directory with a file per environment variable of the workers; read before each start.
    /// Beats the environment, and ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL and KILL_OLD_DELAY in
    /// it beat their options [env: ENVDIR]
    #[arg(long, value_name = "DIR", help_heading = WORKERS)]
    envdir: Option<PathBuf>,

    /// How long a new worker must live to count as started, and the pause before the next try
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = parse_seconds,
          help_heading = RELOADS)]
    interval: Duration,

    /// Give a reload up after N failed attempts: the old workers stay. If there are none, exit
    /// with status 1. 0: try for ever
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = RELOADS)]
    start_attempts: u32,

    /// Pause between the readiness of new workers and the signal to the old ones. Default: 5 with
    /// --enable-auto-restart, else 0 [env: KILL_OLD_DELAY]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    kill_old_delay: Option<Duration>,

    /// Start a new generation at regular intervals [env: ENABLE_AUTO_RESTART]
    #[arg(long, help_heading = RELOADS)]
    enable_auto_restart: bool,

    /// From one generation's readiness to the next automatic one. Default: 360
    /// [env: AUTO_RESTART_INTERVAL]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    auto_restart_interval: Option<Duration>,

    /// Signal to old workers after a reload
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    signal_on_hup: Signal,

    /// Signal to all workers when this program gets SIGTERM
    #[arg(long, value_name = "SIG", default_value = "TERM", help_heading = RELOADS)]
    signal_on_term: Signal,

    /// Send SIGKILL to a worker that has not left so long after its signal. Default: never
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = RELOADS)]
    stop_timeout: Option<Duration>,

    /// File for the pid; locked as long as the supervisor lives
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pid_file: Option<PathBuf>,

    /// File that lists the live workers, a line GENERATION:PID for each
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    status_file: Option<PathBuf>,

    /// File to append all output to, or `| COMMAND` to pipe it to. SIGUSR1 reopens the file
    #[arg(long, value_name = "FILE", value_parser = LogParser, help_heading = FILES)]
    log_file: Option<LogTarget>,

    /// Where this program's own lines go: `journal` (with fields), `stderr`, or `auto`: the journal
    /// if standard error leads there
    #[arg(long, value_name = "WHERE", default_value = "auto", help_heading = FILES)]
    log_target: Destination,

    /// Run in the background; returns when the first workers are ready (status 0) or have failed.
    /// Needs --log-file
    #[arg(long, help_heading = FILES)]
    daemonize: bool,

    /// Show structured fields; twice: trace
    #[arg(short, long, action = ArgAction::Count, help_heading = FILES)]
    verbose: u8,

    /// Least important messages shown: off, error, warn, info, debug or trace. Default: info
    #[arg(long, value_name = "LEVEL", help_heading = FILES)]
    log_level: Option<LevelFilter>,

    /// Have a running supervisor replace its workers, and wait for it. Needs --pid-file and
    /// --status-file
    #[arg(long, conflicts_with = "stop", help_heading = COMMANDS)]
    restart: bool,

    /// Have a running supervisor stop, and wait for it. Needs --pid-file
    #[arg(long, help_heading = COMMANDS)]
    stop: bool,

    /// What --restart waits for: `ready`, the new workers have taken over, or `drained`, the old
    /// ones have gone, too
    #[arg(long, value_name = "STATE", default_value = "drained", help_heading = COMMANDS)]
    until: Until,

    /// How long --restart and --stop wait. Default: as long as the supervisor lives
    #[arg(long, value_name = "SECS", value_parser = parse_seconds, help_heading = COMMANDS)]
    timeout: Option<Duration>,

    /// The server program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, hide = true)]
    program: Vec<OsString>,
}

const SOCKETS: &str = "Sockets";
const WORKERS: &str = "Workers";
const RELOADS: &str = "Starting and stopping";
const FILES: &str = "Files and output";
const COMMANDS: &str = "Talking to a running supervisor";

const AFTER_HELP: &str = "\
SECS is a number, fractions allowed, or has a unit: 0.2, 300ms, 2s, 5m, 1h.

Signals: HUP starts a new generation and, if it comes up, stops the old one. TERM, INT and QUIT
stop everything. USR1 reopens the log file.

Workers find their sockets in SERVER_STARTER_PORT=KEY=FD;KEY=FD and their number in
SERVER_STARTER_GENERATION.

Exit status: 0 stopped as asked, 1 failed, 2 usage; of --restart and --stop also 3 no supervisor is
running, 4 timed out.";

/// Parses the command line and the environment. An `Err` has been printed; it is to be exited
/// with.
pub(crate) fn parse() -> Result<Invocation, ExitCode> {
    let options = Options::try_parse().map_err(|error| report(&error))?;
    let log_level = options.log_level.unwrap_or(match options.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    });
    let command = options.into_command().map_err(|message| {
        report(&Options::command().error(ErrorKind::ValueValidation, message))
    })?;
    Ok(Invocation { command, log_level })
}

/// Prints an error of clap's, or the help that it takes for one.
fn report(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

impl Options {
    fn into_command(self) -> Result<Command, String> {
        let pid_file = |command| {
            let wanted = || format!("{command} needs --pid-file to be set as well");
            self.pid_file.clone().ok_or_else(wanted)
        };
        if self.restart {
            return Ok(Command::Restart(Restart {
                pid_file: pid_file("--restart")?,
                status_file: self
                    .status_file
                    .ok_or("--restart needs --status-file to be set as well")?,
                until: self.until,
                timeout: self.timeout,
            }));
        }
        if self.stop {
            return Ok(Command::Stop(Stop {
                pid_file: pid_file("--stop")?,
                timeout: self.timeout,
            }));
        }
        self.into_config().map(Box::new).map(Command::Start)
    }

    fn into_config(self) -> Result<Config, String> {
        let mut words = self.program.into_iter();
        let program = words.next().ok_or("server program not specified")?;
        let mut config = Config::new(program, words);

        // The environment first, for options beat it.
        let names = [
            "ENABLE_AUTO_RESTART",
            "AUTO_RESTART_INTERVAL",
            "KILL_OLD_DELAY",
        ];
        let variables = names.map(|name| (name, std::env::var_os(name)));
        let (mut live, complaints) = config.live.with_variables(|wanted| {
            let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
            value.as_deref()
        });
        live.auto_restart |= self.enable_auto_restart;
        live.auto_restart_interval = self
            .auto_restart_interval
            .unwrap_or(live.auto_restart_interval);
        live.kill_old_delay = self.kill_old_delay.or(live.kill_old_delay);
        let overruled = |name: &str| match name {
            "AUTO_RESTART_INTERVAL" => self.auto_restart_interval.is_some(),
            _ => self.kill_old_delay.is_some(),
        };
        if let Some((name, e)) = complaints.into_iter().find(|(name, _)| !overruled(name)) {
            return Err(format!("the environment's {name}: {e}"));
        }
        config.live = live;

        let envdir = std::env::var_os("ENVDIR").filter(|dir| !dir.is_empty());
        config.envdir = self.envdir.or(envdir.map(PathBuf::from));
        config.ports = self.port;
        config.paths = self.path;
        config.path_access = PathAccess {
            mode: self.path_mode,
            user: self.path_user,
            group: self.path_group,
        };
        config.backlog = self.backlog;
        config.dir = self.dir;
        config.interval = self.interval;
        config.signal_on_hup = self.signal_on_hup;
        config.signal_on_term = self.signal_on_term;
        config.pid_file = self.pid_file;
        config.status_file = self.status_file;
        config.log = self.log_file;
        config.log_target = self.log_target;
        config.daemonize = self.daemonize;
        config.start_attempts = self.start_attempts;
        config.stop_timeout = self.stop_timeout;
        Ok(config)
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not permission bits (an octal number up to 0777)".to_owned())
}

fn find_user(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => match User::from_name(text) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err("no such user".to_owned()),
            Err(errno) => Err(format!(
                "cannot look up the user: {}",
                std::io::Error::from(errno)
            )),
        },
    }
}

fn find_group(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => match Group::from_name(text) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err("no such group".to_owned()),
            Err(errno) => Err(format!(
                "cannot look up the group: {}",
                std::io::Error::from(errno)
            )),
        },
    }
}

/// Values that are bytes and not text need parsers of their own.
macro_rules! os_str_parser {
    ($parser:ident, $value:ty, $parse:expr) => {
        #[derive(Clone)]
        struct $parser;

        impl clap::builder::TypedValueParser for $parser {
            type Value = $value;

            fn parse_ref(
                &self,
                command: &clap::Command,
                arg: Option<&clap::Arg>,
                value: &OsStr,
            ) -> Result<$value, clap::Error> {
                let parse: fn(&OsStr) -> Result<$value, String> = $parse;
                parse(value).map_err(|reason| {
                    let name = arg.map(ToString::to_string).unwrap_or_default();
                    let value = value.to_string_lossy();
                    let message = format!("invalid value '{value}' for '{name}': {reason}");
                    command.clone().error(ErrorKind::ValueValidation, message)
                })
            }
        }
    };
}

os_str_parser!(PathParser, PathSpec, PathSpec::new);
os_str_parser!(LogParser, LogTarget, LogTarget::parse);

#[cfg(test)]
mod tests {
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
