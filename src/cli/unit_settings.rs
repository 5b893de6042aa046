//! The settings of a service under `start_server`: one list for the units that `--generate=units` writes
//! and, by a test, for those in `systemd/`.

/// The service manager that runs the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scope {
    /// The system's.
    System,
    /// A user's own, `systemctl --user`. It has no privileges: it cannot create users (`DynamicUser=` fails with
    /// 217/USER), change the bounding set (218/CAPABILITIES) or set up mount namespaces.
    User,
}

/// How the supervisor is run and watched. Times depend on the options and are not listed here.
pub(super) const SERVICE: &[(&str, &str)] = &[
    ("Type", "notify"),
    ("NotifyAccess", "main"),
    // The supervisor stops the workers itself; systemd kills what is left.
    ("KillMode", "mixed"),
    // A worker that is killed for lack of memory is replaced, like any that dies.
    ("OOMPolicy", "continue"),
    ("Restart", "on-failure"),
    // Status 2 is wrong usage: a restart cannot help.
    ("RestartPreventExitStatus", "2"),
    ("WatchdogSec", "30"),
];

/// What the server may do, under either manager.
const FOR_ALL: &[(&str, &str)] = &[
    ("LockPersonality", "yes"),
    ("NoNewPrivileges", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallErrorNumber", "EPERM"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
];

/// What only the system's manager can restrict.
const FOR_SYSTEM: &[(&str, &str)] = &[
    ("CapabilityBoundingSet", ""),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RemoveIPC", "yes"),
];

/// The restrictions of a unit, by name.
pub(super) fn hardening(scope: Scope) -> Vec<(&'static str, &'static str)> {
    let mut settings = FOR_ALL.to_vec();
    if scope == Scope::System {
        settings.extend_from_slice(FOR_SYSTEM);
    }
    // A stable sort: the two lines of SystemCallFilter= depend on their order.
    settings.sort_by_key(|(key, _)| *key);
    settings
}

/// The value of a setting in [`SERVICE`], as a line.
pub(super) fn line((key, value): &(&str, &str)) -> String {
    format!("{key}={value}\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Settings that only the shipped units have: too strict for many servers, so each is explained there, or
    /// specific to that unit.
    const SHIPPED_ALONE: [&str; 4] = [
        "MemoryDenyWriteExecute",
        "UMask",
        "AmbientCapabilities",
        "EnvironmentFile",
    ];

    /// Settings whose value depends on the options or on the name.
    const DEPENDS: [&str; 8] = [
        "ExecStart",
        "ExecReload",
        "TimeoutStartSec",
        "TimeoutStopSec",
        "RuntimeDirectory",
        "FileDescriptorStoreMax",
        "Environment",
        "DynamicUser",
    ];

    fn settings(unit: &str) -> Vec<(String, String)> {
        let service = unit.split("[Service]").nth(1).unwrap();
        let service = service.split("[Install]").next().unwrap();
        let lines = service.lines().filter(|line| !line.starts_with([' ', '#']));
        let pairs = lines.filter_map(|line| line.split_once('='));
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        pairs.map(own).collect()
    }

    #[test]
    fn shipped_units_have_the_settings_of_generated_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        let expected: Vec<(&str, &str)> = SERVICE
            .iter()
            .copied()
            .chain(hardening(Scope::System))
            .collect();
        for unit in ["server-starter@.service", "example/web.service"] {
            let text = std::fs::read_to_string(root.join(unit)).unwrap();
            let shipped = settings(&text);
            for (key, value) in &expected {
                let has = shipped.iter().any(|(k, v)| k == key && v == value);
                assert!(has, "{unit} has no {key}={value}");
            }
            for (key, value) in &shipped {
                let known = expected.contains(&(key, value))
                    || SHIPPED_ALONE.contains(&key.as_str())
                    || DEPENDS.contains(&key.as_str());
                assert!(known, "{unit} has {key}={value}, generated units do not");
            }
        }
    }
}
