//! The command line: arguments and environment become a command with its settings.

#[cfg(feature = "documents")]
mod completions;
mod generate;
#[cfg(feature = "documents")]
mod manual;
mod options;
mod quote;
mod socket_unit;
mod unit_arguments;
mod unit_files;
mod unit_settings;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use server_starter::command::{ControlAddress, Format, Restart, Status, Stop, Upgrade};
use server_starter::{CommandLine, Config, Identity, PathAccess, Readiness};
use tracing_subscriber::filter::LevelFilter;

use options::Options;

/// What the command line asks for.
pub(crate) struct Invocation {
    pub(crate) command: Command,
    pub(crate) log_level: LevelFilter,
}

/// What this program can do.
pub(crate) enum Command {
    Start(Box<Config>),
    Restart(Restart),
    Stop(Stop),
    Status(Status),
    Upgrade(Upgrade),
    /// The preflight of an upgrade to this program.
    Preflight(Box<Config>),
    /// Print this text.
    Print(Vec<u8>),
}

/// Parses the command line and the environment. An `Err` is the exit status; the error has been
/// printed.
pub(crate) fn parse() -> Result<Invocation, ExitCode> {
    let matches = Options::command().try_get_matches();
    let matches = matches.map_err(|error| report(&error))?;
    let options = Options::from_arg_matches(&matches).map_err(|error| report(&error))?;
    let log_level = options.log_level.unwrap_or(match options.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    });
    let command = options.into_command(&matches).map_err(|message| {
        report(&Options::command().error(ErrorKind::ValueValidation, message))
    })?;
    Ok(Invocation { command, log_level })
}

/// Prints an error of clap. `--help` and `--version` are errors to clap, too.
fn report(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The command line of this process.
fn command_line() -> Option<CommandLine> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let args = words.collect();
    Some(CommandLine { program, args })
}

/// Options that have an effect with certain commands only, and these commands.
const MODIFIERS: [(&str, &[&str]); 6] = [
    ("json", &["status"]),
    ("metrics", &["status"]),
    ("until", &["restart"]),
    ("timeout", &["restart", "stop", "status", "upgrade"]),
    ("name", &["generate"]),
    ("scope", &["generate"]),
];

/// Refuses options that would be ignored. The options of a start are accepted with every command, since
/// scripts give the same options to all.
fn reject_stray_options(matches: &ArgMatches) -> Result<(), String> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    for (option, commands) in MODIFIERS {
        if given(option) && !commands.iter().any(|command| given(command)) {
            let commands: Vec<String> = commands.iter().map(|name| format!("--{name}")).collect();
            let commands = commands.join(" or ");
            return Err(format!("--{option} means nothing without {commands}"));
        }
    }
    Ok(())
}

impl Options {
    fn into_command(self, matches: &ArgMatches) -> Result<Command, String> {
        reject_stray_options(matches)?;
        if let Some(product) = self.generate {
            self.reject_idle_options(matches)?; // the generated units must start
            return generate::generate(product, &self, matches).map(Command::Print);
        }
        let timeout = self.timeout;
        if self.restart {
            let address = self.address("--restart")?;
            if let ControlAddress::Files { status: None, .. } = address {
                return Err("--restart needs --status-file to be set as well".to_owned());
            }
            let until = self.until;
            return Ok(Command::Restart(Restart {
                address,
                until,
                timeout,
            }));
        }
        if self.stop {
            let address = self.address("--stop")?;
            return Ok(Command::Stop(Stop { address, timeout }));
        }
        if self.status {
            let socket = self.socket("--status")?;
            let format = match (self.json, self.metrics) {
                (true, _) => Format::Json,
                (_, true) => Format::Metrics,
                _ => Format::Text,
            };
            return Ok(Command::Status(Status {
                socket,
                format,
                timeout,
            }));
        }
        if self.upgrade {
            let socket = self.socket("--upgrade")?;
            return Ok(Command::Upgrade(Upgrade { socket, timeout }));
        }
        self.reject_idle_options(matches)?;
        let preflight = self.preflight;
        let config = Box::new(self.into_config()?);
        Ok(match preflight {
            true => Command::Preflight(config),
            false => Command::Start(config),
        })
    }

    /// Refuses options that have no effect without another option.
    fn reject_idle_options(&self, matches: &ArgMatches) -> Result<(), String> {
        let has_path = !self.path.is_empty();
        let needs_notification = self.ready == Readiness::Notify;
        let has_check = self.check_cmd.is_some();
        for (option, name, needed, is_there) in [
            ("path_mode", "--path-mode", "--path", has_path),
            ("path_user", "--path-user", "--path", has_path),
            ("path_group", "--path-group", "--path", has_path),
            (
                "start_timeout",
                "--start-timeout",
                "--ready=notify",
                needs_notification,
            ),
            ("check_timeout", "--check-timeout", "--check-cmd", has_check),
        ] {
            if !is_there && matches.value_source(option) == Some(ValueSource::CommandLine) {
                return Err(format!("{name} means nothing without {needed}"));
            }
        }
        Ok(())
    }

    /// The address of the supervisor that a command is for.
    fn address(&self, command: &str) -> Result<ControlAddress, String> {
        if let Some(path) = &self.control {
            return Ok(ControlAddress::Socket(path.as_path().to_owned()));
        }
        let wanted = || format!("{command} needs --control or --pid-file to be set as well");
        Ok(ControlAddress::Files {
            pid: self.pid_file.clone().ok_or_else(wanted)?,
            status: self.status_file.clone(),
        })
    }

    fn socket(&self, command: &str) -> Result<PathBuf, String> {
        let path = self.control.as_ref().map(|path| path.as_path().to_owned());
        path.ok_or_else(|| format!("{command} needs --control to be set as well"))
    }

    fn into_config(self) -> Result<Config, String> {
        let mut words = self.program.into_iter();
        let program = words.next().ok_or("server program not specified")?;
        let mut config = Config::new(program, words);

        // The environment comes first: options override it.
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
        let overridden = |name: &str| match name {
            "AUTO_RESTART_INTERVAL" => self.auto_restart_interval.is_some(),
            _ => self.kill_old_delay.is_some(),
        };
        if let Some((name, e)) = complaints.into_iter().find(|(name, _)| !overridden(name)) {
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
        config.log_file = self.log_file;
        config.log_target = self.log_target;
        config.daemonize = self.daemonize;
        config.command_line = command_line();
        config.start_attempts = self.start_attempts;
        config.stop_timeout = self.stop_timeout;
        config.check_command = self.check_cmd;
        config.check_timeout = self.check_timeout;
        config.control = self.control.map(|path| path.as_path().to_owned());
        config.readiness = self.ready;
        config.start_timeout = self.start_timeout;
        config.worker_watchdog = self.worker_watchdog;
        config.identity = Identity::find(self.user.as_deref(), self.group.as_deref())?;
        Ok(config)
    }
}
