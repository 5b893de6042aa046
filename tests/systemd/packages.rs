//! The .deb: installation, upgrade and removal by apt.

use std::collections::BTreeSet;
use std::path::Path;

use server_starter_testing::expect;

use crate::harness::{Machine, Service};

/// An entry of the catalog.
const STARTED: &str = "4e91462d6a3a44ab90ab5e34ace4ef92";

/// apt without sources: there is no network, and apt would try for a long time.
const APT: &str = "env DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet \
    -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null";

/// Copies the packages that `tests/systemd/run` has built.
fn copy_packages(machine: &Machine) {
    let made = std::env::var_os("START_SERVER_PACKAGES").expect("START_SERVER_PACKAGES is set");
    for name in ["first.deb", "next.deb", "perl.deb"] {
        machine.copy(&Path::new(&made).join(name), &format!("/opt/{name}"));
    }
    // Versions 252 and 254 use the root of the host, where the package may be installed.
    machine.run("dpkg --purge server-starter");
    // apt would start PackageKit, if installed, after each change.
    machine
        .run("systemctl mask --runtime packagekit.service")
        .ok();
    // man-db would index all manual pages after each change.
    machine.run("rm -f /var/lib/man-db/auto-update").ok();
}

/// The files that dpkg misses, except documentation, with which the tree of Debian 13 is not installed.
fn missing(machine: &Machine, package: &str) -> Vec<String> {
    let said = machine.run(&format!("dpkg --verify {package}")).stdout;
    let is_documentation = |line: &&str| line.contains("/share/doc") || line.contains("/share/man");
    let lines = said.lines().filter(|line| !is_documentation(line));
    lines.map(str::to_owned).collect()
}

/// All files that a package may change. Without the state of apt and dpkg, logs, the catalog's database, which is written
/// again, and caches, such as the index of man-db.
fn files(machine: &Machine) -> BTreeSet<String> {
    let all = machine.run(
        "find /etc /usr /var -path /var/lib/dpkg -prune -o -path /var/lib/apt -prune \
         -o -path /var/cache -prune -o -path /var/log -prune \
         -o -path /var/lib/systemd/catalog/database -prune -o -print",
    );
    all.ok().lines().map(str::to_owned).collect()
}

fn has_catalog(machine: &Machine) -> bool {
    let listed = machine.run(&format!("journalctl --list-catalog {STARTED}"));
    listed.stdout.contains("start_server")
}

pub(crate) fn package_is_installed_upgraded_and_purged(machine: &'static Machine) {
    copy_packages(machine);
    machine.install_hello();
    let before = files(machine);
    let port = machine.port();

    machine.run(&format!("{APT} install /opt/first.deb")).ok();
    let first = version(machine);
    assert_eq!(missing(machine, "server-starter"), [""; 0]);
    assert!(
        has_catalog(machine),
        "systemd's trigger has not updated the catalog"
    );

    // as in README.md
    let environment = "SERVER_STARTER_COMMAND=/usr/local/bin/hello\n\
                       SERVER_STARTER_OPTIONS=--interval=0.3\n";
    machine.write("/etc/server-starter/web.env", environment, 0o644);
    let drop_in = "/etc/systemd/system/server-starter@web.socket.d/port.conf";
    let listen = format!("[Socket]\nListenStream=127.0.0.1:{port}\n");
    machine.write(drop_in, listen, 0o644);
    machine.reload_manager();
    machine
        .run("systemctl enable --now server-starter@web.socket")
        .ok();
    let service = Service::installed(machine, "server-starter@web");
    machine.get(port).unwrap();
    machine
        .get_from_unix("/run/server-starter/web.sock")
        .unwrap();
    service.wait_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);

    // An upgrade costs no request: the supervisor executes the new program in the same process.
    let load = machine.load(port);
    load.wait_answers(20);
    let (supervisor, worker) = (service.main_pid(), service.worker_pid());
    machine.run(&format!("{APT} install /opt/next.deb")).ok();
    load.wait_answers(20);
    assert_eq!(version(machine), format!("{first}+next"));
    expect("the new program has taken over", || {
        let program = machine
            .run(&format!("readlink /proc/{supervisor}/exe"))
            .ok();
        (program.trim() == "/usr/bin/start_server").then_some(())
    });
    let journal = service.journal();
    assert!(journal.contains(&format!("start_server (pid:{supervisor}) upgraded from ")));
    assert_eq!(
        (service.main_pid(), service.worker_pid()),
        (supervisor, worker)
    );
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 3);
    load.wait_answers(20);
    service.systemctl("restart").ok();
    load.wait_answers(20);

    // A purge costs no request either.
    let (supervisor, worker) = (service.main_pid(), service.worker_pid());
    machine.run(&format!("{APT} purge server-starter")).ok();
    load.wait_answers(20);
    assert_eq!(
        (service.main_pid(), service.worker_pid()),
        (supervisor, worker)
    );
    load.stop().expect_no_failure();

    // After the service is stopped and the test's own files are removed, no file is left.
    machine
        .run("systemctl stop server-starter@web.socket server-starter@web.service")
        .ok();
    machine
        .run("rm -r /etc/server-starter /etc/systemd/system/server-starter@web.socket.d")
        .ok();
    let after = files(machine);
    let changed: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(changed.is_empty(), "{changed:?}");
    let run = machine.run("find /run -name *server-starter*").ok();
    assert_eq!(run.trim(), "/run/server-starter", "systemd's directory");
    assert!(!has_catalog(machine));
}

fn version(machine: &Machine) -> String {
    machine
        .run("dpkg-query --show --showformat ${Version} server-starter")
        .ok()
}

/// Both packages have the command. In whatever order they are installed and removed: it is this program while this package
/// is installed, otherwise Perl's.
pub(crate) fn package_coexists_with_perls(machine: &'static Machine) {
    copy_packages(machine);
    machine.run("dpkg --force-depends --purge libserver-starter-perl"); // the host may have it
    let dpkg = |what: &str| machine.run(&format!("dpkg --force-depends {what}")).ok();
    let is_perls = |path: &str| machine.read(path).contains("use Server::Starter");
    let is_ours = |path: &str| !is_perls(path) && machine.path(path).exists();
    let both = || is_ours("/usr/bin/start_server") && is_perls("/usr/bin/start_server.perl");
    let only_perls = || {
        is_perls("/usr/bin/start_server") && !machine.path("/usr/bin/start_server.perl").exists()
    };
    let only_ours =
        || is_ours("/usr/bin/start_server") && !machine.path("/usr/bin/start_server.perl").exists();

    dpkg("--install /opt/first.deb");
    assert!(only_ours());
    dpkg("--install /opt/perl.deb");
    assert!(both(), "after this package, then Perl's");
    dpkg("--install /opt/next.deb");
    assert!(both(), "after an upgrade");
    dpkg("--install /opt/first.deb");
    assert!(both(), "after a downgrade");
    dpkg("--remove server-starter");
    assert!(only_perls(), "after the removal of this package");
    dpkg("--install /opt/next.deb");
    assert!(both(), "after Perl's, then this package");
    assert_eq!(missing(machine, "server-starter"), [""; 0]);
    assert_eq!(missing(machine, "libserver-starter-perl"), [""; 0]);
    machine.run("start_server --version").ok();
    dpkg("--purge libserver-starter-perl");
    assert!(only_ours(), "after the purge of Perl's");
    dpkg("--install /opt/perl.deb");
    assert!(both(), "after Perl's was installed again");
    dpkg("--purge server-starter");
    assert!(only_perls(), "after the purge of this package");

    // A package that cannot be unpacked changes nothing.
    machine.run("cp /opt/first.deb /opt/broken.deb").ok();
    machine.run("truncate --size=-100000 /opt/broken.deb").ok();
    let broken = machine.run("dpkg --force-depends --install /opt/broken.deb");
    assert!(!broken.success() && only_perls(), "{broken:#?}");

    dpkg("--purge libserver-starter-perl");
    assert!(!machine.path("/usr/bin/start_server").exists());
    let diversions = machine.run("dpkg-divert --list *start_server*").ok();
    assert_eq!(diversions, "");
}
