//! The units in `systemd/`.

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

const UNITS: [&str; 4] = [
    "server-starter@web.service",
    "server-starter@web.socket",
    "web.service",
    "web.socket",
];

/// The threshold of `systemd-analyze security` is in tenths.
const EXPOSURE: u32 = 25;

pub(crate) fn shipped_units_are_valid_and_hardened(machine: &'static Machine) {
    // `systemd-analyze verify` needs the program
    machine.write(
        "/srv/web/bin/web",
        "#!/bin/sh\nexec /usr/local/bin/hello\n",
        0o755,
    );
    for unit in UNITS {
        let verify = machine.run(&format!("systemd-analyze verify {unit}"));
        assert!(verify.success(), "{verify:?}");
        assert_eq!(verify.stdout + &verify.stderr, "", "{unit}");
    }
    for unit in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
        let command = format!("systemd-analyze security --no-pager --threshold={EXPOSURE} {unit}");
        let security = machine.run(&command);
        assert!(security.success(), "{}", security.stdout);
    }
}

pub(crate) fn template_unit_serves(machine: &'static Machine) {
    let (port, own) = (machine.port(), machine.port());
    let environment = format!(
        "SERVER_STARTER_COMMAND=/usr/local/bin/hello\n\
         SERVER_STARTER_OPTIONS=--interval=0.5 --port={port} --port=127.0.0.1:{own}\n\
         COLOUR=blue\n"
    );
    machine.write("/etc/server-starter/shop.env", environment, 0o644);
    machine.write(
        "/etc/systemd/system/server-starter@shop.socket.d/ports.conf",
        format!("[Socket]\nListenStream={port}\n"),
        0o644,
    );
    machine.reload_manager();
    let service = Service::installed(machine, "server-starter@shop");
    machine.change("systemctl enable --now server-starter@shop.socket");

    let answer = machine.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    machine.get(own).unwrap();
    machine
        .get_from_unix("/run/server-starter/shop.sock")
        .unwrap();
    let worker = service.worker_pid();
    assert_eq!(
        machine.variable(worker, "SERVER_STARTER_PORT").unwrap(),
        format!("{port}=3;127.0.0.1:{own}=4;/run/server-starter/shop.sock=5")
    );
    assert_eq!(machine.variable(worker, "COLOUR").unwrap(), "blue");
    assert_ne!(service.property("UID"), "0");

    service.wait_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    machine.get(port).unwrap();

    // The socket of the option comes back, too.
    expect("the socket of the option is stored", || {
        (service.property("NFileDescriptorStore") == "1").then_some(())
    });
    service.systemctl("restart").ok();
    for port in [port, own] {
        let answer = machine.get(port).unwrap();
        assert!(answer.starts_with("hello from generation 1"), "{answer}");
    }
    service.systemctl("stop").ok();
    assert_eq!(service.property("Result"), "success");
    machine.change("systemctl disable --now server-starter@shop.socket");
}

pub(crate) fn example_unit_serves(machine: &'static Machine) {
    machine.write(
        "/srv/web/bin/web",
        "#!/bin/sh\nexec /usr/local/bin/hello\n",
        0o755,
    );
    let service = Service::installed(machine, "web");
    machine.change("systemctl enable --now web.socket web.service");
    machine.get(8080).unwrap();
    machine.get_from_unix("/run/web.sock").unwrap();
    assert_eq!(
        machine
            .variable(service.worker_pid(), "SERVER_STARTER_PORT")
            .unwrap(),
        "8080=3;/run/web.sock=4"
    );
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    machine.get(8080).unwrap();
    machine.change("systemctl disable --now web.socket web.service");
}
