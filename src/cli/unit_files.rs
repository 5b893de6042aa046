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
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn generate(args: &[&str]) -> Result<String, String> {
        let scope = "--scope=system"; // tests run as any user
        let args = match args.iter().any(|arg| arg.starts_with("--scope")) {
            true => args.to_vec(),
            false => [&[scope], args].concat(),
        };
        let args = ["start_server", "--generate=units"].into_iter().chain(args);
        let matches = Options::command()
            .try_get_matches_from(args)
            .unwrap_or_else(|e| panic!("{e}"));
        let options = Options::from_arg_matches(&matches).unwrap_or_else(|e| panic!("{e}"));
        units(&options, &matches)
    }

    #[track_caller]
    fn has_lines(text: &str, lines: &[&str]) {
        for line in lines {
            let line = line.trim();
            assert!(
                text.lines().any(|l| l.trim() == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn sockets_are_opened_by_systemd_and_named_to_the_supervisor() {
        let args = [
            "--port=8080",
            "--port=u53=7",
            "--port=[fe80::1%eth0]:80",
            "--port=[127.0.0.1]:81",
            "--path=/run/a b%.sock",
            "--path-mode=660",
            "--backlog=77",
            "/srv/web/bin/web",
        ];
        let text = generate(&args).unwrap();
        let lines = [
            "# --- web.service",
            "Requires=web.socket",
            "--port=8080 \\",
            "--port=u53=7 \\",
            "\"--path=/run/a b%%.sock\" \\",
            "-- /srv/web/bin/web",
            "# --- web.socket",
            "ListenStream=0.0.0.0:8080",
            "ListenDatagram=0.0.0.0:53",
            "ListenStream=[fe80::1%%eth0]:80",
            "BindIPv6Only=ipv6-only",
            "ListenStream=127.0.0.1:81",
            "ListenStream=/run/a b%%.sock",
            "SocketMode=0660",
            "Backlog=77",
        ];
        has_lines(&text, &lines);
        assert!(!text.contains("--path-mode") && !text.contains("--generate"));
    }

    #[test]
    fn times_fit_into_each_other() {
        let text = generate(&["--name=x", "--", "web"]).unwrap();
        has_lines(&text, &["--start-attempts=3 \\", "TimeoutStartSec=56"]);
        assert!(text.contains("--timeout=26 "), "{text}");
        assert!(!text.contains(".socket"), "nothing to listen on\n{text}");

        let slow = [
            "--interval=10",
            "--start-attempts=4",
            "--kill-old-delay=1.5",
            "--stop-timeout=5m",
            "web",
        ];
        let text = generate(&slow).unwrap();
        assert!(text.contains("--timeout=103 "), "{text}");
        let lines = [
            "--interval=10 \\",
            "TimeoutStartSec=133",
            "TimeoutStopSec=330",
        ];
        has_lines(&text, &lines);

        let text = generate(&["--ready=notify", "--start-timeout=20", "web"]).unwrap();
        assert!(text.contains("--timeout=140 "), "{text}");
        let lines = ["--ready=notify \\", "TimeoutStartSec=170"];
        has_lines(&text, &lines);
    }

    #[test]
    fn hidden_paths_are_named_in_a_comment() {
        let text = generate(&["--envdir=/tmp/env", "--dir=/root", "/home/me/web"]).unwrap();
        for note in [
            "# ProtectHome= below hides /home/me/web from",
            "# ProtectHome= below hides /root from",
            "# PrivateTmp= below hides /tmp/env from",
        ] {
            assert!(text.contains(note), "{note}\n{text}");
        }
        assert_eq!(hidden(Path::new("/srv/tmp/web")), None);
    }

    #[test]
    fn user_and_group_become_settings_of_the_unit() {
        let text = generate(&["--user=web", "--group=www", "web"]).unwrap();
        has_lines(&text, &["User=web", "Group=www"]);
        assert!(!text.contains("DynamicUser=") && !text.contains("--user"));
        has_lines(&generate(&["web"]).unwrap(), &["DynamicUser=yes"]);
    }

    #[test]
    fn options_without_a_place_in_a_unit_are_left_out_with_a_comment() {
        let args = [
            "--daemonize",
            "--log-file=/l",
            "--pid-file=/p",
            "-vv",
            "web",
        ];
        let text = generate(&args).unwrap();
        let lines = [
            "# --daemonize is left out: systemd does that.",
            "# --log-file is left out: the journal has the output.",
            "--verbose \\",
        ];
        has_lines(&text, &lines);
        assert_eq!(text.matches("--verbose").count(), 2);
        assert_eq!(text.matches("--pid-file=").count(), 1);
        assert_eq!(text.matches("--control=").count(), 2);
    }

    #[test]
    fn options_that_a_unit_cannot_express_are_refused() {
        let cases: [(&[&str], &str); 9] = [
            (&["--user=a b", "web"], "--user=a b"),
            (&[], "not specified"),
            (&["bin/web"], "absolute path"),
            (&["--dir=srv", "web"], "--dir=srv"),
            (&["--port=0", "web"], "port number"),
            (&["--port=fd:web", "web"], "address"),
            (&["--path=web.sock", "web"], "absolute path"),
            (&["--name=a/b", "web"], "--name"),
            (&["--path=/a\nb", "web"], "control character"),
        ];
        for (args, why) in cases {
            let error = generate(args).expect_err(why);
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }

    #[test]
    fn units_for_a_user_have_no_setting_that_needs_privileges() {
        let text = generate(&["--scope=user", "--port=8080", "/home/me/web"]).unwrap();
        has_lines(&text, &["WantedBy=default.target", "NoNewPrivileges=yes"]);
        for setting in [
            "DynamicUser",
            "CapabilityBoundingSet",
            "ProtectHome",
            "network.target",
        ] {
            let is_set = text
                .lines()
                .any(|line| line.starts_with(setting) || line.ends_with(setting));
            assert!(!is_set, "{setting}\n{text}");
        }
        let error = generate(&["--scope=user", "--user=web", "web"]).unwrap_err();
        assert!(error.contains("--scope=system"), "{error}");
    }

    #[test]
    fn socket_inside_the_runtime_directory_moves_that_directory() {
        let text = generate(&["--name=app", "--path=/run/app/web.sock", "web"]).unwrap();
        let lines = [
            "RuntimeDirectory=app-supervisor",
            "--control=%t/app-supervisor/control \\",
        ];
        has_lines(&text, &lines);
        let text = generate(&["--name=app", "--path=/run/apps/web.sock", "web"]).unwrap();
        has_lines(&text, &["RuntimeDirectory=app"]);
    }
}
