//! The control socket with systemd's client for Varlink, varlinkctl(1).

use crate::harness::{Machine, Service};

const INTERFACE: &str = "org.serverstarter.Supervisor";

pub(crate) fn varlinkctl_can_call_the_control_socket(machine: &'static Machine) {
    let port = machine.port();
    let options = format!("--port=127.0.0.1:{port} --start-attempts=1");
    let service = Service::new(machine, "varlink", options).start();
    let ctl = |verb: &str, rest: &str| {
        machine.run(&format!("varlinkctl {verb} /run/varlink/control {rest}"))
    };

    assert!(ctl("info", "").ok().contains("start_server"));
    let interfaces = ctl("list-interfaces", "").ok();
    assert!(interfaces.contains(INTERFACE), "{interfaces}");
    // varlinkctl parses the description and prints it.
    let description = ctl("introspect", INTERFACE).ok();
    for part in ["method Reload", "method Status", "error ReloadFailed"] {
        assert!(description.contains(part), "{part} in {description}");
    }
    ctl("introspect", "org.varlink.service").ok();

    let status = ctl("call", &format!("{INTERFACE}.Status {{}}")).ok();
    assert!(status.contains("serving"), "{status}");
    let reload = ctl("call", &format!("{INTERFACE}.Reload {{}}")).ok();
    assert!(reload.contains("drained"), "{reload}");
    let steps = ctl("call --more", &format!("{INTERFACE}.Reload {{}}")).ok();
    for step in ["started", "ready", "replaced", "drained"] {
        assert!(steps.contains(step), "{step} in {steps}");
    }
    assert_eq!(service.generation(), 3);
    let upgraded = ctl("call", &format!("{INTERFACE}.Upgrade {{}}")).ok();
    assert!(upgraded.contains(env!("CARGO_PKG_VERSION")), "{upgraded}");

    service.set_worker("exit 3");
    let failed = ctl("call", &format!("{INTERFACE}.Reload {{}}"));
    assert!(
        !failed.success() && failed.stderr.contains("ReloadFailed"),
        "{failed:?}"
    );
    let unknown = ctl(
        "call",
        &format!("{INTERFACE}.Reload {{\"until\":\"later\"}}"),
    );
    assert!(
        !unknown.success() && unknown.stderr.contains("InvalidParameter"),
        "{unknown:?}"
    );
    machine.get(port).unwrap();
    ctl("call", &format!("{INTERFACE}.Stop {{}}")).ok();
}
