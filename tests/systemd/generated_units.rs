//! The units that `--generate=units` writes.

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

/// The threshold of `systemd-analyze security` is in tenths.
const EXPOSURE: u32 = 25;

pub(crate) fn generated_units_are_valid_hardened_and_serve(machine: &'static Machine) {
    let port = machine.port();
    // as in README.md
    let script = format!(
        "#!/bin/sh -e\ncd /etc/systemd/system\n\
         start_server --generate=units --name=made --port={port} --path=/run/made.sock \
             --interval=0.3 -- /usr/local/bin/hello |\n\
             awk '/^# --- / {{ file = $3 }} {{ print > file }}'\n"
    );
    machine.write("/opt/generate", script, 0o755);
    machine.run("/opt/generate").ok();
    machine.reload_manager();

    for unit in ["made.service", "made.socket"] {
        // The manual page that they name comes with a package only.
        let verify = machine.run(&format!("systemd-analyze verify --man=no {unit}"));
        assert!(verify.success(), "{verify:?}");
        assert_eq!(verify.stdout + &verify.stderr, "", "{unit}");
    }
    let command =
        format!("systemd-analyze security --no-pager --threshold={EXPOSURE} made.service");
    let security = machine.run(&command);
    assert!(security.success(), "{}", security.stdout);

    machine.change("systemctl enable --now made.socket made.service");
    let service = Service::installed(machine, "made");
    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    machine.get_from_unix("/run/made.sock").unwrap();
    let ports = machine.variable(service.worker_pid(), "SERVER_STARTER_PORT");
    assert_eq!(ports.unwrap(), format!("{port}=3;/run/made.sock=4"));
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    expect("the new generation answers", || {
        let answer = machine.get(port).unwrap();
        answer.starts_with("hello from generation 2").then_some(())
    });
    service.systemctl("stop").ok();
    assert_eq!(service.property("Result"), "success");
    machine.change("systemctl disable --now made.socket made.service");
}

/// systemd removes the runtime directory of a service that stops.
pub(crate) fn socket_below_run_outlives_the_service(machine: &'static Machine) {
    let script = "#!/bin/sh -e\ncd /etc/systemd/system\n\
         start_server --generate=units --name=below --path=/run/below/web.sock --interval=0.3 \
             -- /usr/local/bin/hello |\n\
             awk '/^# --- / { file = $3 } { print > file }'\n";
    machine.write("/opt/generate-below", script, 0o755);
    machine.run("/opt/generate-below").ok();
    machine.reload_manager();
    machine.change("systemctl start below.socket below.service");
    machine.get_from_unix("/run/below/web.sock").unwrap();
    machine.change("systemctl stop below.service");
    // The connection starts the service again.
    machine.get_from_unix("/run/below/web.sock").unwrap();
    machine.change("systemctl stop below.socket below.service");
}
