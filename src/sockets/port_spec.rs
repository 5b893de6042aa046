//! The grammar of `--port`.
//!
//! `PORT`, `HOST:PORT` or `[V6]:PORT`; a `u` before the port number makes it UDP, `=FD` at the end
//! asks for a descriptor number. `fd:NAME` is an inherited socket. White space around the parts does
//! not count.

use std::ffi::OsString;
use std::str::FromStr;

/// One `--port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PortSpec {
    /// A socket at this address: inherited if there is one, else bound.
    Address(AddressSpec),
    /// `fd:NAME`: the inherited sockets of that name, `FileDescriptorName=` in systemd.socket(5).
    FdName {
        /// The name.
        name: String,
        /// The descriptor number that was asked for.
        fd: Option<i32>,
    },
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AddressSpec {
    /// The addresses to listen on.
    pub host: Host,
    /// 0 lets the kernel choose.
    pub port: u16,
    /// UDP instead of TCP.
    pub udp: bool,
    /// The descriptor number that was asked for.
    pub fd: Option<i32>,
    /// The port's digits as typed: workers look for the key as their configuration has it.
    digits: String,
}

/// The host part of an [`AddressSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// No host given: every IPv4 address.
    AnyV4,
    /// A name or an address, looked up as IPv4.
    V4(String),
    /// An IPv6 address; the socket is IPv6 only.
    V6(String),
}

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<PortSpec, String> {
        let spec = text.trim();
        if spec.is_empty() {
            return Err("empty; PORT, HOST:PORT or [V6]:PORT is wanted".to_owned());
        }
        let (address, fd) = match spec.rsplit_once('=') {
            Some((address, fd)) => (address.trim_end(), Some(parse_fd(fd.trim())?)),
            None => (spec, None),
        };
        if let Some(name) = fd_name(address) {
            return Ok(PortSpec::FdName {
                name: name.to_owned(),
                fd,
            });
        }
        let (host, port) = split_host(address)?;
        let (udp, digits) = match port.strip_prefix('u') {
            Some(digits) => (true, digits),
            None => (false, port),
        };
        Ok(PortSpec::Address(AddressSpec {
            host,
            port: parse_port(digits)?,
            udp,
            fd,
            digits: digits.to_owned(),
        }))
    }
}

/// The name in `fd:NAME`. Digits alone are a port on a host called "fd".
fn fd_name(address: &str) -> Option<&str> {
    let name = address.strip_prefix("fd:")?.trim();
    let is_port = name
        .strip_prefix('u')
        .unwrap_or(name)
        .bytes()
        .all(|b| b.is_ascii_digit());
    (!is_port).then_some(name)
}

fn split_host(address: &str) -> Result<(Host, &str), String> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or("the closing bracket is missing")?;
        let port = port
            .trim_start()
            .strip_prefix(':')
            .ok_or("[V6] must be followed by :PORT")?;
        return Ok((parse_host(host.trim())?, port.trim_start()));
    }
    match address.rsplit_once(':') {
        None => Ok((Host::AnyV4, address)),
        Some((host, port)) => Ok((parse_host(host.trim())?, port.trim_start())),
    }
}

fn parse_host(host: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Err("the host before the colon is missing".to_owned());
    }
    if host.contains(['[', ']', ';', '=']) || host.contains(char::is_whitespace) {
        return Err(format!("'{host}' is not a host"));
    }
    if !host.contains(':') {
        return Ok(Host::V4(host.to_owned()));
    }
    let address = host
        .split_once('%')
        .map_or(host, |(address, _zone)| address);
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Ok(Host::V6(host.to_owned())),
        Err(_) if host.contains("://") => {
            Err(format!("'{host}' has a scheme, HOST:PORT alone is wanted"))
        }
        Err(_) => Err(format!("'{host}' is not an IPv6 address")),
    }
}

fn parse_port(digits: &str) -> Result<u16, String> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "'{digits}' is not a port number (PORT, HOST:PORT or [V6]:PORT is wanted)"
        ));
    }
    digits
        .parse()
        .map_err(|_| format!("port number {digits} is too large (at most 65535)"))
}

fn parse_fd(digits: &str) -> Result<i32, String> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("'={digits}' is not a descriptor number"));
    }
    match digits.parse() {
        Ok(1 | 2) => Err(format!(
            "={digits} is standard output or error, where the log goes"
        )),
        Ok(fd) => Ok(fd),
        Err(_) => Err(format!("descriptor number {digits} is too large")),
    }
}

impl PortSpec {
    /// The descriptor number that was asked for.
    pub fn fd(&self) -> Option<i32> {
        match self {
            PortSpec::Address(spec) => spec.fd,
            PortSpec::FdName { fd, .. } => *fd,
        }
    }
}

impl AddressSpec {
    /// The key in `SERVER_STARTER_PORT` of a socket that is bound to `port`.
    pub(crate) fn key(&self, port: u16) -> OsString {
        let digits = if self.port == 0 {
            port.to_string()
        } else {
            self.digits.clone()
        };
        match &self.host {
            Host::AnyV4 => digits,
            Host::V4(host) => format!("{host}:{digits}"),
            Host::V6(host) => format!("[{host}]:{digits}"),
        }
        .into()
    }
}

impl std::fmt::Display for AddressSpec {
    /// The address, for messages: `[::1]:80`, `53 (UDP)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.udp { " (UDP)" } else { "" };
        write!(f, "{}{kind}", self.key(self.port).to_string_lossy())
    }
}

impl std::fmt::Display for PortSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PortSpec::Address(spec) => spec.fmt(f),
            PortSpec::FdName { name, .. } => write!(f, "fd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AddressSpec {
        match text.parse() {
            Ok(PortSpec::Address(spec)) => spec,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn inherited_sockets_are_named() {
        let named = |name: &str, fd| PortSpec::FdName {
            name: name.to_owned(),
            fd,
        };
        assert_eq!("fd:web".parse(), Ok(named("web", None)));
        assert_eq!(
            " fd:web.socket = 7 ".parse(),
            Ok(named("web.socket", Some(7)))
        );
        assert_eq!(
            parse("fd:80").host,
            Host::V4("fd".into()),
            "a host can be called that"
        );
        assert!("fd:".parse::<PortSpec>().is_err());
    }

    #[test]
    fn every_form_of_a_spec_is_parsed() {
        let v4 = |host: &str| Host::V4(host.to_owned());
        let cases = [
            ("8080", Host::AnyV4, 8080, false, None, "8080"),
            (" 8080 ", Host::AnyV4, 8080, false, None, "8080"),
            ("u53", Host::AnyV4, 53, true, None, "53"),
            ("80=0", Host::AnyV4, 80, false, Some(0), "80"),
            ("80 = 7", Host::AnyV4, 80, false, Some(7), "80"),
            (
                "127.0.0.1:80",
                v4("127.0.0.1"),
                80,
                false,
                None,
                "127.0.0.1:80",
            ),
            (
                "[127.0.0.1]:80",
                v4("127.0.0.1"),
                80,
                false,
                None,
                "127.0.0.1:80",
            ),
            (
                "localhost:u53=9",
                v4("localhost"),
                53,
                true,
                Some(9),
                "localhost:53",
            ),
            (
                "[::1]:80",
                Host::V6("::1".into()),
                80,
                false,
                None,
                "[::1]:80",
            ),
            (
                " [ ::1 ] : u80 = 5 ",
                Host::V6("::1".into()),
                80,
                true,
                Some(5),
                "[::1]:80",
            ),
            (
                "::1:80",
                Host::V6("::1".into()),
                80,
                false,
                None,
                "[::1]:80",
            ),
            (
                "[fe80::1%lo]:80",
                Host::V6("fe80::1%lo".into()),
                80,
                false,
                None,
                "[fe80::1%lo]:80",
            ),
            ("0080", Host::AnyV4, 80, false, None, "0080"),
        ];
        for (text, host, port, udp, fd, key) in cases {
            let spec = parse(text);
            assert_eq!(
                (&spec.host, spec.port, spec.udp, spec.fd),
                (&host, port, udp, fd),
                "{text}"
            );
            assert_eq!(spec.key(port), key, "{text}");
        }
    }

    #[test]
    fn port_zero_has_its_real_number_as_key() {
        assert_eq!(parse("0").key(4321), "4321");
        assert_eq!(parse("[::1]:0").key(4321), "[::1]:4321");
    }

    #[test]
    fn invalid_spec_is_refused_with_the_reason() {
        let cases = [
            ("", "empty"),
            ("  ", "empty"),
            ("70000", "too large"),
            ("99999999999", "too large"),
            ("-1", "'-1' is not a port"),
            ("80=x", "'=x' is not a descriptor"),
            ("80=", "descriptor"),
            ("80=-1", "descriptor"),
            ("80=1", "standard output"),
            ("80=2", "standard output"),
            ("80=99999999999", "too large"),
            ("[::1", "bracket"),
            ("[::1]", ":PORT"),
            ("[::1]80", ":PORT"),
            (":80", "host"),
            ("host:", "not a port"),
            ("uu80", "not a port"),
            ("1:2:80", "not an IPv6"),
            ("[zz::]:80", "not an IPv6"),
            ("a b:80", "not a host"),
            ("80;81", "not a port"),
            ("[]:80", "host"),
            ("٣", "not a port"),
        ];
        for (text, why) in cases {
            let error = text.parse::<PortSpec>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
