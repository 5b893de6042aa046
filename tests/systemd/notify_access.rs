//! NotifyAccess=main: systemd ignores the notifications of workers.

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

pub(crate) fn worker_cannot_notify_for_the_unit(machine: &'static Machine) {
    let port = machine.port();
    let service =
        Service::new(machine, "talker", format!("--port=127.0.0.1:{port}")).line("WatchdogSec=60");
    // The worker's NOTIFY_SOCKET is the supervisor's. It also sends to the known path of systemd's own socket, where only
    // messages of the supervisor count (NotifyAccess=main).
    service.set_worker(
        "echo \"worker has NOTIFY_SOCKET=${NOTIFY_SOCKET-none} WATCHDOG=${WATCHDOG_USEC-none}\"\n\
         for socket in \"$NOTIFY_SOCKET\" /run/systemd/notify; do\n\
         [ -n \"$socket\" ] || continue\n\
         for word in READY=1 MAINPID=1 MAINPID=$$ STATUS=nonsense STOPPING=1; do\n\
         NOTIFY_SOCKET=$socket systemd-notify --no-block $word || echo \"not sent: $word\"\n\
         done; done\n\
         echo \"worker has sent all\"\n\
         exec /usr/local/bin/hello",
    );
    let service = service.start();
    let supervisor = service.main_pid();
    for generation in [1, 2] {
        let done = || service.journal().matches("worker has sent all").count();
        expect("the worker has sent all", || {
            (done() >= generation).then_some(())
        });
        expect("the worker serves", || machine.get(port).ok());
        // systemd reads all messages before it answers this.
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
    let own = "worker has NOTIFY_SOCKET=/run/talker/start_server-";
    assert!(journal.contains(own), "{journal}");
    assert!(journal.contains(" WATCHDOG=none"), "{journal}");
}
