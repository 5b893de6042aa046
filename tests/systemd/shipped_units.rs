//! The units in `systemd/`.

use crate::harness::{Lab, Service, eventually};

const UNITS: [&str; 4] = [
    "server-starter@web.service",
    "server-starter@web.socket",
    "web.service",
    "web.socket",
];

/// The threshold of `systemd-analyze security` is in tenths.
const EXPOSURE: u32 = 25;

pub(crate) fn they_are_clean_and_hardened(lab: &'static Lab) {
    // `verify` wants to see the program.
    lab.write(
        "/srv/web/bin/web",
        "#!/bin/sh\nexec /usr/local/bin/hello\n",
        0o755,
    );
    for unit in UNITS {
        let verify = lab.run(&format!("systemd-analyze verify {unit}"));
        assert!(verify.success, "{verify:?}");
        assert_eq!(verify.stdout + &verify.stderr, "", "{unit}");
    }
    for unit in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
        let command = format!("systemd-analyze security --no-pager --threshold={EXPOSURE} {unit}");
        let security = lab.run(&command);
        assert!(security.success, "{}", security.stdout);
    }
}

pub(crate) fn the_template_serves(lab: &'static Lab) {
    let (port, own) = (lab.port(), lab.port());
    let environment = format!(
        "SERVER_STARTER_COMMAND=/usr/local/bin/hello\n\
         SERVER_STARTER_OPTIONS=--interval=0.5 --port={port} --port=127.0.0.1:{own}\n\
         COLOUR=blue\n"
    );
    lab.write("/etc/server-starter/shop.env", environment, 0o644);
    lab.write(
        "/etc/systemd/system/server-starter@shop.socket.d/ports.conf",
        format!("[Socket]\nListenStream={port}\n"),
        0o644,
    );
    lab.reload_manager();
    let service = Service::installed(lab, "server-starter@shop");
    lab.change("systemctl enable --now server-starter@shop.socket");

    let answer = lab.get(port).unwrap();
    assert!(answer.starts_with("hello from generation 1"), "{answer}");
    lab.get(own).unwrap();
    lab.get_from_unix("/run/server-starter/shop.sock").unwrap();
    let worker = service.worker_pid();
    assert_eq!(
        lab.variable(worker, "SERVER_STARTER_PORT").unwrap(),
        format!("{port}=3;127.0.0.1:{own}=4;/run/server-starter/shop.sock=5")
    );
    assert_eq!(lab.variable(worker, "COLOUR").unwrap(), "blue");
    assert_ne!(service.property("UID"), "0");

    service.is_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    lab.get(port).unwrap();

    // Sockets of its own are back, too.
    eventually("its own socket is stored", || {
        (service.property("NFileDescriptorStore") == "1").then_some(())
    });
    service.systemctl("restart").ok();
    for port in [port, own] {
        let answer = lab.get(port).unwrap();
        assert!(answer.starts_with("hello from generation 1"), "{answer}");
    }
    service.systemctl("stop").ok();
    assert_eq!(service.property("Result"), "success");
    lab.change("systemctl disable --now server-starter@shop.socket");
}

pub(crate) fn the_example_serves(lab: &'static Lab) {
    lab.write(
        "/srv/web/bin/web",
        "#!/bin/sh\nexec /usr/local/bin/hello\n",
        0o755,
    );
    let service = Service::installed(lab, "web");
    lab.change("systemctl enable --now web.socket web.service");
    lab.get(8080).unwrap();
    lab.get_from_unix("/run/web.sock").unwrap();
    assert_eq!(
        lab.variable(service.worker_pid(), "SERVER_STARTER_PORT")
            .unwrap(),
        "8080=3;/run/web.sock=4"
    );
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);
    lab.get(8080).unwrap();
    lab.change("systemctl disable --now web.socket web.service");
}
