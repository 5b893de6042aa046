//! What a worker says to a service manager is not what its supervisor says.

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

pub(crate) fn a_worker_cannot_speak_for_the_unit(machine: &'static Machine) {
    let port = machine.port();
    let service =
        Service::new(machine, "talker", format!("--port=127.0.0.1:{port}")).line("WatchdogSec=60");
    // It finds a NOTIFY_SOCKET that is not the unit's. Where systemd has that is no secret, so it
    // tries there, too; the supervisor alone is listened to (NotifyAccess=main).
    service.becomes(
        "echo \"worker found NOTIFY_SOCKET=${NOTIFY_SOCKET-none} WATCHDOG=${WATCHDOG_USEC-none}\"\n\
         for place in \"$NOTIFY_SOCKET\" /run/systemd/notify; do\n\
         [ -n \"$place\" ] || continue\n\
         for word in READY=1 MAINPID=1 MAINPID=$$ STATUS=nonsense STOPPING=1; do\n\
         NOTIFY_SOCKET=$place systemd-notify --no-block $word || echo \"not sent: $word\"\n\
         done; done\n\
         echo \"worker has spoken\"\n\
         exec /usr/local/bin/hello",
    );
    let service = service.start();
    let supervisor = service.main_pid();
    for generation in [1, 2] {
        let spoken = || service.journal().matches("worker has spoken").count();
        expect("the worker has spoken", || {
            (spoken() >= generation).then_some(())
        });
        expect("it serves", || machine.get(port).ok());
        // systemd has read every message before it answers this.
        assert_eq!(service.property("ActiveState"), "active");
        assert_eq!(service.property("SubState"), "running");
        assert_eq!(service.main_pid(), supervisor);
        let status = service.property("StatusText");
        assert!(status.contains("serving"), "{status}");
        assert!(!status.starts_with("nonsense"), "{status}");
        if generation == 1 {
            service.systemctl("reload").ok();
        }
    }
    let journal = service.journal();
    let own = "worker found NOTIFY_SOCKET=/run/talker/start_server-";
    assert!(journal.contains(own), "{journal}");
    assert!(journal.contains(" WATCHDOG=none"), "{journal}");
}
