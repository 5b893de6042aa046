//! What the generated units contain, and what they are refused for.

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
    for option in ["--user=web", "--path-user=0", "--path-group=0"] {
        let args = ["--scope=user", "--path=/run/user/1000/s", option, "web"];
        let error = generate(&args).unwrap_err();
        assert!(error.contains("--scope=system"), "{option}: {error}");
    }
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
