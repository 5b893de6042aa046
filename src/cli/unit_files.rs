//! `--generate=units`: a .service and a .socket unit for systemd, made from the other options.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use clap::ArgMatches;

use server_starter::Readiness;

use super::options::Options;
use super::quote::quote;
use super::socket_unit::socket_unit;
use super::unit_arguments::{arguments, given};
use super::unit_settings::{SERVICE, Scope, hardening, line};

/// With a limit, every reload ends, and `systemctl reload` returns its result.
const START_ATTEMPTS: u32 = 3;

/// The time that a reload may take beyond the times that the options set.
const SLACK: Duration = Duration::from_secs(20);

/// By how much systemd's time-outs exceed those of the supervisor.
const MARGIN: Duration = Duration::from_secs(30);

/// The service and its sockets. The service alone if there is nothing to listen on.
pub(super) fn units(options: &Options, matches: &ArgMatches) -> Result<String, String> {
    let name = unit_name(options)?;
    let sockets = socket_unit(options, matches, &name)?;
    let mut text = service_unit(options, matches, &name, sockets.is_some())?;
    if let Some(sockets) = sockets {
        text.push('\n');
        text.push_str(&sockets);
    }
    Ok(text)
}

/// `--name`, else the program's.
fn unit_name(options: &Options) -> Result<String, String> {
    let program = options
        .program
        .first()
        .ok_or("server program not specified")?;
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') && path.is_relative() && options.dir.is_none() {
        let shown = path.display();
        return Err(format!("{shown}: a unit needs the program's absolute path"));
    }
    for (option, dir) in [("--dir", &options.dir), ("--envdir", &options.envdir)] {
        if let Some(dir) = dir.as_deref().filter(|dir| dir.is_relative()) {
            let dir = dir.display();
            return Err(format!("{option}={dir}: a unit needs an absolute path"));
        }
    }
    let file_name = path.file_name().unwrap_or(program).to_string_lossy();
    let name = options.name.clone().unwrap_or(file_name.into_owned());
    // The name is that of a directory below /run, too.
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty()
        || name.len() > 200
        || name.starts_with(['.', '-'])
        || !name.chars().all(is_good)
    {
        return Err(format!(
            "'{name}' cannot be the name of a unit here; give one with --name (letters, digits, \
             '_', '-' and '.')"
        ));
    }
    Ok(name)
}

fn service_unit(
    options: &Options,
    matches: &ArgMatches,
    name: &str,
    has_sockets: bool,
) -> Result<String, String> {
    let supervisor = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let (arguments, mut left_out) = arguments(options, matches);
    let program = options.program.first().map(Path::new);
    let envdir = options.envdir.as_deref();
    if options.scope() == Scope::System {
        let paths = [Some(&*supervisor), program, options.dir.as_deref(), envdir];
        left_out.extend(paths.into_iter().flatten().filter_map(hidden));
    }
    let supervisor = quote(supervisor.as_os_str());
    let attempts = match given(matches, "start_attempts") {
        true => options.start_attempts,
        false => START_ATTEMPTS,
    };
    let reload = options.timeout.unwrap_or(longest_reload(options, attempts));
    let (reload, start) = (whole(reload), whole(reload.saturating_add(MARGIN)));
    let stop = options.stop_timeout.map_or(90, |t| whole(t + MARGIN));
    let program: Vec<String> = options.program.iter().map(|word| quote(word)).collect();
    let program = program.join(" ");

    let scope = options.scope();
    let identity = identity(options, scope)?;
    let mut text = format!("# --- {name}.service\n");
    if scope == Scope::User {
        text.push_str(
            "# For a user's own manager: ~/.config/systemd/user, systemctl --user, and `loginctl enable-linger` to run\n\
             # it without a login. For the system's: --scope=system.\n",
        );
    }
    for note in left_out {
        let _ = writeln!(text, "# {note}");
    }
    let _ = write!(
        text,
        "[Unit]\nDescription={name}, run by start_server\nDocumentation=man:start_server(1)\n"
    );
    if has_sockets {
        let _ = writeln!(text, "Requires={name}.socket");
    }
    if scope == Scope::System {
        text.push_str("After=network.target\n");
    }
    text.push_str("\n[Service]\n");
    text.extend(SERVICE.iter().map(line));
    let dir = runtime_directory(options, name);
    let _ = write!(
        text,
        "\
ExecStart={supervisor} \\
    --control=%t/{dir}/control \\
    --pid-file=%t/{dir}/pid --status-file=%t/{dir}/status \\
    --start-attempts={attempts} \\
"
    );
    for argument in arguments {
        let _ = writeln!(text, "    {argument} \\");
    }
    let target = match scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    };
    let restrictions: String = hardening(scope).iter().map(line).collect();
    let _ = write!(
        text,
        "    -- {program}
# Returns when the new workers have taken over, and fails when they have not.
ExecReload={supervisor} --restart --until=ready --timeout={reload} \\
    --control=%t/{dir}/control
# Bounds reloads too: longer than ExecReload waits.
TimeoutStartSec={start}
# How long workers may drain.
TimeoutStopSec={stop}
RuntimeDirectory={dir}
# systemd keeps the sockets while the supervisor is replaced. Before 254 it does not say so itself.
FileDescriptorStoreMax=512
Environment=FDSTORE=512
{identity}
# What the server may do. Loosen what yours needs: files it writes (StateDirectory=), programs below
# /home (ProtectHome=).
{restrictions}
[Install]
WantedBy={target}
"
    );
    Ok(text)
}

/// The settings for the user and group of the service. A user's manager runs everything as that user.
fn identity(options: &Options, scope: Scope) -> Result<String, String> {
    let given = [
        ("--user", "User", &options.user),
        ("--group", "Group", &options.group),
    ];
    let mut lines = String::new();
    for (option, key, name) in given {
        let Some(name) = name else {
            continue;
        };
        if scope == Scope::User {
            return Err(format!(
                "{option}={name}: a user's manager cannot run anything as another one (--scope=system)"
            ));
        }
        if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        {
            return Err(format!("{option}={name}: not a name for a unit"));
        }
        let _ = writeln!(lines, "{key}={name}");
    }
    if lines.is_empty() && scope == Scope::System {
        lines.push_str("# For a user of its own: User=.\nDynamicUser=yes\n");
    }
    Ok(lines)
}

/// systemd removes the directory whenever the service stops, so no socket of the `.socket` unit may be in it.
fn runtime_directory(options: &Options, name: &str) -> String {
    let mut directory = name.to_owned();
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    let roots = ["/run", "/var/run", runtime.as_str()];
    let holds_socket = |directory: &str| {
        let inside = |path: &Path| {
            let roots = roots.iter().filter(|root| !root.is_empty());
            let mut below = roots.map(|root| Path::new(root).join(directory));
            below.any(|directory| path.starts_with(directory))
        };
        options.path.iter().any(|spec| inside(spec.as_path()))
    };
    while holds_socket(&directory) {
        directory.push_str("-supervisor");
    }
    directory
}

/// A note on a path that the unit hides from the service. `None` if it is visible.
fn hidden(path: &Path) -> Option<String> {
    let by = match path {
        it if ["/home", "/root", "/run/user"]
            .iter()
            .any(|dir| it.starts_with(dir)) =>
        {
            "ProtectHome="
        }
        it if ["/tmp", "/var/tmp"].iter().any(|dir| it.starts_with(dir)) => "PrivateTmp=",
        _ => return None,
    };
    let path = path.display();
    Some(format!(
        "{by} below hides {path} from the service: have it elsewhere, or loosen that line."
    ))
}

/// The longest time that a reload takes. Each attempt takes the interval, or the start time-out with
/// `--ready=notify`. The reload may have to wait for another one to end first.
fn longest_reload(options: &Options, attempts: u32) -> Duration {
    let grace = Duration::from_secs(if options.enable_auto_restart { 5 } else { 0 });
    let attempt = match options.ready {
        Readiness::Notify => options.interval.max(options.start_timeout),
        Readiness::Auto | Readiness::Alive => options.interval,
    };
    let check = options.check_cmd.as_ref().map(|_| options.check_timeout);
    let one = attempt
        .saturating_mul(attempts.max(1))
        .saturating_add(check.unwrap_or_default())
        .saturating_add(options.kill_old_delay.unwrap_or(grace));
    one.saturating_mul(2).saturating_add(SLACK)
}

/// The time in seconds, rounded up.
fn whole(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
