//! The .deb, as apt installs, upgrades and removes it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::{Lab, Load, Outcome, Service, eventually};

/// One of the catalog's entries.
const STARTED: &str = "4e91462d6a3a44ab90ab5e34ace4ef92";

/// No sources: there is no network to fetch from, and apt would try for a long time.
const APT: &str = "env DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet \
    -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null";

/// `tests/systemd/run` makes them.
fn bring_packages(lab: &Lab) {
    let made = std::env::var_os("START_SERVER_PACKAGES").expect("START_SERVER_PACKAGES is set");
    for name in ["first.deb", "next.deb", "perl.deb"] {
        lab.copy(&Path::new(&made).join(name), &format!("/opt/{name}"));
    }
    // Versions 252 and 254 run over the root of this very machine, which may have ours installed.
    lab.run("dpkg --purge server-starter");
    // Where PackageKit is installed, apt tells it of each change; it would start, and look around.
    lab.run("systemctl mask --runtime packagekit.service").ok();
    // The same for man-db, which would go through all manual pages.
    lab.run("rm -f /var/lib/man-db/auto-update").ok();
}

/// What dpkg misses. Debian 13's tree is made without documentation.
fn missing(lab: &Lab, package: &str) -> Vec<String> {
    let said = lab.run(&format!("dpkg --verify {package}")).stdout;
    let is_documentation = |line: &&str| line.contains("/share/doc") || line.contains("/share/man");
    let lines = said.lines().filter(|line| !is_documentation(line));
    lines.map(str::to_owned).collect()
}

/// What a package may touch, but for the state of apt and dpkg, logs, the catalog's database, which is
/// written anew, and caches: man-db keeps its index among these.
fn files(lab: &Lab) -> BTreeSet<String> {
    let all = lab.run(
        "find /etc /usr /var -path /var/lib/dpkg -prune -o -path /var/lib/apt -prune \
         -o -path /var/cache -prune -o -path /var/log -prune \
         -o -path /var/lib/systemd/catalog/database -prune -o -print",
    );
    all.ok().lines().map(str::to_owned).collect()
}

fn has_catalog(lab: &Lab) -> bool {
    let listed = lab.run(&format!("journalctl --list-catalog {STARTED}"));
    listed.stdout.contains("start_server")
}

pub(crate) fn installed_used_upgraded_and_purged(lab: &'static Lab) {
    bring_packages(lab);
    lab.install_hello();
    let before = files(lab);
    let port = lab.port();

    lab.run(&format!("{APT} install /opt/first.deb")).ok();
    let first = version(lab);
    assert_eq!(missing(lab, "server-starter"), [""; 0]);
    assert!(has_catalog(lab), "systemd's trigger updates the catalog");

    // What README.md says.
    let environment = "SERVER_STARTER_COMMAND=/usr/local/bin/hello\n\
                       SERVER_STARTER_OPTIONS=--interval=0.3\n";
    lab.write("/etc/server-starter/web.env", environment, 0o644);
    let drop_in = "/etc/systemd/system/server-starter@web.socket.d/port.conf";
    let listen = format!("[Socket]\nListenStream=127.0.0.1:{port}\n");
    lab.write(drop_in, listen, 0o644);
    lab.reload_manager();
    lab.run("systemctl enable --now server-starter@web.socket")
        .ok();
    let service = Service::installed(lab, "server-starter@web");
    lab.get(port).unwrap();
    lab.get_from_unix("/run/server-starter/web.sock").unwrap();
    service.is_active();
    service.systemctl("reload").ok();
    assert_eq!(service.generation(), 2);

    // An upgrade is not felt: the supervisor makes way for the new one, in the same process.
    let load = Load::on(lab, port);
    load.goes_on(20);
    let (supervisor, worker) = (service.main_pid(), service.worker_pid());
    lab.run(&format!("{APT} install /opt/next.deb")).ok();
    load.goes_on(20);
    assert_eq!(version(lab), format!("{first}+next"));
    eventually("the new program has taken over", || {
        let program = lab.run(&format!("readlink /proc/{supervisor}/exe")).ok();
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
    load.goes_on(20);
    service.systemctl("restart").ok();
    load.goes_on(20);

    // Nor is the end of the package.
    let (supervisor, worker) = (service.main_pid(), service.worker_pid());
    lab.run(&format!("{APT} purge server-starter")).ok();
    load.goes_on(20);
    assert_eq!(
        (service.main_pid(), service.worker_pid()),
        (supervisor, worker)
    );
    let outcome = load.end();
    let Outcome { refused, reset, .. } = outcome;
    assert_eq!((refused, reset), (0, 0), "{outcome:?}");
    assert!(outcome.other.is_empty(), "{outcome:?}");

    // Once the service is stopped, and what the test has written taken away, there is nothing left.
    lab.run("systemctl stop server-starter@web.socket server-starter@web.service")
        .ok();
    lab.run("rm -r /etc/server-starter /etc/systemd/system/server-starter@web.socket.d")
        .ok();
    let after = files(lab);
    let changed: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(changed.is_empty(), "{changed:?}");
    let run = lab.run("find /run -name *server-starter*").ok();
    assert_eq!(run.trim(), "/run/server-starter", "systemd's directory");
    assert!(!has_catalog(lab));
}

fn version(lab: &Lab) -> String {
    lab.run("dpkg-query --show --showformat ${Version} server-starter")
        .ok()
}

/// Both packages have the command. Whoever comes first and whoever goes first: it is ours as long as
/// ours is there, and else Perl's.
pub(crate) fn beside_perls(lab: &'static Lab) {
    bring_packages(lab);
    lab.run("dpkg --force-depends --purge libserver-starter-perl"); // of this machine, perhaps
    let dpkg = |what: &str| lab.run(&format!("dpkg --force-depends {what}")).ok();
    let is_perls = |path: &str| lab.read(path).contains("use Server::Starter");
    let is_ours = |path: &str| !is_perls(path) && lab.path(path).exists();
    let both = || is_ours("/usr/bin/start_server") && is_perls("/usr/bin/start_server.perl");
    let only_perls =
        || is_perls("/usr/bin/start_server") && !lab.path("/usr/bin/start_server.perl").exists();
    let only_ours =
        || is_ours("/usr/bin/start_server") && !lab.path("/usr/bin/start_server.perl").exists();

    dpkg("--install /opt/first.deb");
    assert!(only_ours());
    dpkg("--install /opt/perl.deb");
    assert!(both(), "ours was first");
    dpkg("--install /opt/next.deb");
    assert!(both(), "after an upgrade");
    dpkg("--install /opt/first.deb");
    assert!(both(), "after a step back");
    dpkg("--remove server-starter");
    assert!(only_perls(), "ours has gone");
    dpkg("--install /opt/next.deb");
    assert!(both(), "Perl's was first");
    assert_eq!(missing(lab, "server-starter"), [""; 0]);
    assert_eq!(missing(lab, "libserver-starter-perl"), [""; 0]);
    lab.run("start_server --version").ok();
    dpkg("--purge libserver-starter-perl");
    assert!(only_ours(), "Perl's has gone");
    dpkg("--install /opt/perl.deb");
    assert!(both(), "Perl's is back");
    dpkg("--purge server-starter");
    assert!(only_perls(), "ours has gone for good");

    // One that breaks off in the middle leaves things as they were.
    lab.run("cp /opt/first.deb /opt/broken.deb").ok();
    lab.run("truncate --size=-100000 /opt/broken.deb").ok();
    let broken = lab.run("dpkg --force-depends --install /opt/broken.deb");
    assert!(!broken.success && only_perls(), "{broken:#?}");

    dpkg("--purge libserver-starter-perl");
    assert!(!lab.path("/usr/bin/start_server").exists());
    let diversions = lab.run("dpkg-divert --list *start_server*").ok();
    assert_eq!(diversions, "");
}
