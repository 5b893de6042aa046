//! Upgrades in place under systemd: the service stays active, and its sockets survive the death of the supervisor during
//! the upgrade.

use server_starter_testing::{HttpLoad, HttpOutcome, Output};

use crate::harness::{Machine, Service};

/// `log::message_id::UPGRADED`
const UPGRADED: &str = "f8e9cee1d51c4879bd7a61fc7f50d0ec";

/// A service whose supervisor runs from a file of its own.
fn service(machine: &'static Machine, name: &str, port: u16) -> (Service, String) {
    let program = format!("/opt/{name}.supervisor");
    machine
        .run(&format!("cp /usr/bin/start_server {program}"))
        .ok();
    let start = format!(
        "ExecStart=\nExecStart={program} --interval=0.3 --port=127.0.0.1:{port} \
         --control=/run/{name}/control --status-file=/run/{name}/status -- /opt/{name}"
    );
    let service = Service::new(machine, name, "").line(start).store(1);
    let service = service.line("Restart=on-failure\nRestartSec=0").start();
    (service, program)
}

fn upgrade(service: &Service) -> Output {
    let name = &service.name;
    let command = format!("/usr/bin/start_server --upgrade --control=/run/{name}/control");
    service.machine.run(&command)
}

pub(crate) fn upgrade_is_invisible_to_systemd(machine: &'static Machine) {
    let port = machine.port();
    let (service, _) = service(machine, "upgraded", port);
    let load = machine.load(port);
    load.wait_answers(20);
    let (supervisor, worker) = (service.main_pid(), service.worker_pid());
    for _ in 0..3 {
        upgrade(&service).ok();
        load.wait_answers(20);
    }
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(
        (service.main_pid(), service.worker_pid()),
        (supervisor, worker)
    );
    let status = service.property("StatusText");
    assert!(status.contains("generation 1 serving"), "{status}");
    let entries = machine.run(&format!(
        "journalctl --output=cat MESSAGE_ID={UPGRADED} _PID={supervisor}"
    ));
    assert_eq!(entries.ok().lines().count(), 3);
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    service.set_worker("exit 3");
    upgrade(&service).ok();
    machine
        .run(&format!(
            "systemctl kill --signal=HUP --kill-whom=main {}",
            service.name
        ))
        .ok();
    load.wait_answers(20);
    service.set_worker("exec /usr/local/bin/hello");
    service.systemctl("reload").ok();
    load.stop().expect_no_failure();
    assert_eq!(
        service.property("NFileDescriptorStore"),
        "1",
        "the socket was stored again"
    );
}

/// KILL during the preflight, and after the exec. By then the good program is back in its file.
pub(crate) fn supervisor_killed_during_an_upgrade_comes_back_with_its_sockets(
    machine: &'static Machine,
) {
    let port = machine.port();
    let (service, program) = service(machine, "halfway", port);
    let load = machine.load(port);
    let repair = format!("cp /usr/bin/start_server {program}.new; mv {program}.new {program}");
    let during_preflight = format!("#!/bin/sh\n{repair}\nkill -KILL $PPID\n");
    let after_exec = format!(
        "#!/bin/sh\ncase $1 in --preflight) exec /usr/bin/start_server \"$@\" ;; esac\n\
         {repair}\nkill -KILL $$\n"
    );
    for script in [during_preflight, after_exec] {
        load.wait_answers(20);
        let supervisor = service.main_pid();
        machine.write(&program, &script, 0o755);
        let failed = upgrade(&service);
        assert!(
            !failed.success() && failed.stderr.contains("has ended"),
            "{failed:?}"
        );
        service.wait_restarted(supervisor);
        machine.get(port).unwrap();
    }
    load.wait_answers(20);
    let outcome = load.stop();
    let HttpOutcome { refused, reset, .. } = outcome;
    assert_eq!(refused, 0, "{outcome:?}");
    // systemd kills the workers, whose accepted connections are reset.
    let most = 2 * HttpLoad::CLIENTS;
    assert!(reset <= most, "one per client and kill: {outcome:?}");
    assert!(outcome.other.is_empty(), "{outcome:?}");
}
