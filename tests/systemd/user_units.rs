//! Units for a user's own manager, `systemctl --user`.

use server_starter_testing::expect;

use crate::harness::Machine;

const UID: u32 = 1500;

/// Starts the user's manager, without logind and PAM, which the machines do not have.
fn start_manager(machine: &Machine) {
    machine.install();
    machine.install_hello();
    // Not every machine has useradd(8).
    let add = format!(
        "#!/bin/sh -e\necho 'lab:x:{UID}:{UID}::/home/lab:/bin/sh' >>/etc/passwd\n\
         echo 'lab:x:{UID}:' >>/etc/group\nmkdir -p /home/lab\nchown {UID}:{UID} /home/lab\n"
    );
    machine.write("/opt/add-user", add, 0o755);
    machine.run("/opt/add-user").ok();
    let runtime = format!("/run/user/{UID}");
    machine.run(&format!("mkdir -p {runtime}")).ok();
    machine.run(&format!("chown {UID} {runtime}")).ok();
    machine.run("systemctl -q unmask systemd-logind").ok();
    let units = "/etc/systemd/system";
    machine.write(
        &format!("{units}/user-runtime-dir@{UID}.service.d/x.conf"),
        "[Service]\nExecStart=\nExecStart=/bin/true\nExecStop=\n",
        0o644,
    );
    machine.write(
        &format!("{units}/user@{UID}.service.d/x.conf"),
        format!("[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR={runtime}\n"),
        0o644,
    );
    machine.reload_manager();
    machine.run(&format!("systemctl start user@{UID}")).ok();
}

pub(crate) fn generated_units_serve_under_a_users_manager(machine: &'static Machine) {
    start_manager(machine);
    let port = machine.port();
    // As README.md has it; the user's units are the default for a user.
    let script = format!(
        "#!/bin/sh -e\nmkdir -p ~/.config/systemd/user\ncd ~/.config/systemd/user\n\
         start_server --generate=units --name=app --port=127.0.0.1:{port} --interval=0.3 \
             -- /usr/local/bin/hello |\n\
             awk '/^# --- / {{ file = $3 }} {{ print > file }}'\n\
         systemctl --user daemon-reload\n\
         systemctl --user start app.socket app.service\n"
    );
    machine.write("/opt/as-user", script, 0o755);
    let as_user = |command: &str| {
        let command = format!(
            "setpriv --reuid={UID} --regid={UID} --clear-groups \
             env HOME=/home/lab XDG_RUNTIME_DIR=/run/user/{UID} {command}"
        );
        machine.run(&command)
    };
    as_user("/opt/as-user").ok();
    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    as_user("systemctl --user reload app.service").ok();
    expect("the new generation answers", || {
        let answer = machine.get(port).unwrap();
        answer.starts_with("hello from generation 2").then_some(())
    });
    as_user("systemctl --user restart app.service").ok();
    machine.get(port).unwrap();
    as_user("systemctl --user stop app.socket app.service").ok();
    machine.run(&format!("systemctl stop user@{UID}")).ok();
}
