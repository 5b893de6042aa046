//! The `.socket` unit of `--generate=units`.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use clap::ArgMatches;
use server_starter::{Host, PathSpec, PortSpec};

use super::options::Options;
use super::quote::setting;
use super::unit_settings::Scope;

/// The unit. `None` without a `--port` or a `--path`.
pub(super) fn socket_unit(
    options: &Options,
    matches: &ArgMatches,
    name: &str,
) -> Result<Option<String>, String> {
    if options.port.is_empty() && options.path.is_empty() {
        return Ok(None);
    }
    let mut text = format!(
        "# --- {name}.socket\n[Unit]\nDescription=Sockets of {name}\n\
         Documentation=man:start_server(1)\n\n[Socket]\n"
    );
    let mut only_v6 = false;
    for port in &options.port {
        let _ = writeln!(text, "{}", listen_on(port)?);
        only_v6 |= matches!(port, PortSpec::Address(spec) if matches!(spec.host, Host::V6(_)));
    }
    if only_v6 {
        text.push_str("BindIPv6Only=ipv6-only\n");
    }
    for path in &options.path {
        let _ = writeln!(text, "ListenStream={}", socket_path(path)?);
    }
    if !options.path.is_empty() {
        let _ = writeln!(text, "SocketMode={:04o}", options.path_mode);
        for (id, key) in [("path_user", "SocketUser"), ("path_group", "SocketGroup")] {
            if let Some(owner) = matches.get_raw(id).and_then(|mut raw| raw.next_back()) {
                if options.scope() == Scope::User {
                    let option = id.replace('_', "-");
                    return Err(format!(
                        "--{option}: a user's manager cannot give a socket to another user or group (--scope=system)"
                    ));
                }
                let _ = writeln!(text, "{key}={}", setting(owner)?);
            }
        }
    }
    if options.backlog > 0 {
        let _ = writeln!(text, "Backlog={}", options.backlog);
    }
    text.push_str("\n[Install]\nWantedBy=sockets.target\n");
    Ok(Some(text))
}

fn listen_on(port: &PortSpec) -> Result<String, String> {
    let spec = match port {
        PortSpec::Address(spec) if spec.port == 0 => {
            return Err("--port=0: a unit needs a port number".to_owned());
        }
        PortSpec::Address(spec) => spec,
        PortSpec::FdName { name, .. } => {
            return Err(format!(
                "--port=fd:{name}: a unit needs an address to listen on"
            ));
        }
    };
    let kind = if spec.udp { "Datagram" } else { "Stream" };
    let host = match &spec.host {
        Host::AnyV4 => Ipv4Addr::UNSPECIFIED.to_string(),
        Host::V4(host) => lookup(host, spec.port)?.to_string(),
        // The zone comes after a percent sign, which begins a specifier in a unit.
        Host::V6(host) => format!("[{}]", host.replace('%', "%%")),
    };
    Ok(format!("Listen{kind}={host}:{}", spec.port))
}

/// systemd needs addresses. So a host name is looked up now; the supervisor does that at its start.
fn lookup(host: &str, port: u16) -> Result<Ipv4Addr, String> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| format!("--port={host}:{port}: cannot look up the host: {e}"))?;
    let mut v4 = addresses.filter_map(|address| match address {
        SocketAddr::V4(v4) => Some(*v4.ip()),
        SocketAddr::V6(_) => None,
    });
    v4.next()
        .ok_or_else(|| format!("--port={host}:{port}: the host has no IPv4 address"))
}

fn socket_path(path: &PathSpec) -> Result<String, String> {
    let path = path.as_path();
    if path.is_relative() {
        let path = path.display();
        return Err(format!("--path={path}: a unit needs an absolute path"));
    }
    setting(path.as_os_str()).map_err(|e| format!("--path: {e}"))
}
