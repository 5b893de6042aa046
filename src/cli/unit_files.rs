//! `--generate=units`: a service and its sockets for systemd, from the other options given.

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

/// A reload that always comes to an end is one that systemd can tell the truth about.
const START_ATTEMPTS: u32 = 3;

/// What a reload is granted on top of the pauses that the options ask for.
const SLACK: Duration = Duration::from_secs(20);

/// What systemd waits longer than anything here takes.
const MARGIN: Duration = Duration::from_secs(30);

/// The pair of units, or the service alone if there is nothing to listen on.
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
    // It names a directory below /run as well.
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
    let paths = [Some(&*supervisor), program, options.dir.as_deref(), envdir];
    left_out.extend(paths.into_iter().flatten().filter_map(hidden));
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

    for (option, name) in [("--user", &options.user), ("--group", &options.group)] {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if let Some(name) = name.as_ref().filter(|name| !name.chars().all(is_good)) {
            return Err(format!("{option}={name}: not a name for a unit"));
        }
    }
    let identity = match (&options.user, &options.group) {
        (None, None) => "# For a user of its own: User=.\nDynamicUser=yes\n".to_owned(),
        (user, group) => {
            let user = user.iter().map(|user| format!("User={user}\n"));
            user.chain(group.iter().map(|group| format!("Group={group}\n")))
                .collect()
        }
    };
    let mut text = format!("# --- {name}.service\n");
    for note in left_out {
        let _ = writeln!(text, "# {note}");
    }
    let requires = match has_sockets {
        true => format!("Requires={name}.socket\n"),
        false => String::new(),
    };
    let _ = write!(
        text,
        "\
[Unit]
Description={name}, run by start_server
Documentation=man:start_server(1)
{requires}After=network.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={supervisor} \\
    --control=%t/{name}/control \\
    --pid-file=%t/{name}/pid --status-file=%t/{name}/status \\
    --start-attempts={attempts} \\
"
    );
    for argument in arguments {
        let _ = writeln!(text, "    {argument} \\");
    }
    let _ = writeln!(text, "    -- {program}");
    let _ = write!(
        text,
        "\
# Returns when the new workers have taken over, and fails when they have not.
ExecReload={supervisor} --restart --until=ready --timeout={reload} \\
    --control=%t/{name}/control
# The supervisor stops the workers itself; systemd sweeps up what is left.
KillMode=mixed
Restart=on-failure
# Bounds reloads, too: more than ExecReload waits.
TimeoutStartSec={start}
# How long workers may drain.
TimeoutStopSec={stop}
WatchdogSec=30
RuntimeDirectory={name}
# systemd keeps the sockets while the supervisor is being replaced.
FileDescriptorStoreMax=512
Environment=FDSTORE=512
{identity}{HARDENING}
[Install]
WantedBy=multi-user.target
"
    );
    Ok(text)
}

/// Written so that most servers run as they are.
const HARDENING: &str = "
# What the server may do. Loosen what yours needs: files it writes (StateDirectory=), programs below
# /home (ProtectHome=).
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
";

/// What to say of something in a place that the unit hides.
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

/// Each attempt lives for the interval, or is followed by it, or has its time to say that it is
/// ready; and a reload may have to wait for another one to end.
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

/// Seconds, rounded up.
fn whole(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn generate(args: &[&str]) -> Result<String, String> {
        let args = ["start_server", "--generate=units"].iter().chain(args);
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
    fn what_the_unit_hides_is_named() {
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
    fn a_user_is_the_unit_s() {
        let text = generate(&["--user=web", "--group=www", "web"]).unwrap();
        has_lines(&text, &["User=web", "Group=www"]);
        assert!(!text.contains("DynamicUser=") && !text.contains("--user"));
        has_lines(&generate(&["web"]).unwrap(), &["DynamicUser=yes"]);
    }

    #[test]
    fn what_has_no_place_in_a_unit_is_left_out_and_said() {
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
    fn what_a_unit_cannot_do_is_refused() {
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
}
