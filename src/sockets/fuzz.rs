//! Fuzz targets `specs` and `inherited`: `--port`, `--path`, and the variables of inherited sockets,
//! see [`crate::fuzzing`].

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use super::export::valid_fd_name;
use super::inherit::parse_listen_fds;
use super::{AddressSpec, FIRST_FD, Host, PathSpec, PortSpec};
use crate::types::fuzz::integer;

/// Parses the input as `--port` and as `--path`, and makes a descriptor name of it.
pub fn specs(data: &[u8]) {
    check_path(data);
    let name = valid_fd_name(OsStr::from_bytes(data));
    let is_fd_name = name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b':');
    assert!(is_fd_name && name.len() <= 255, "{name:?}");
    assert_eq!(valid_fd_name(OsStr::new(&name)), name);

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let spec = text.parse::<PortSpec>();
    match &spec {
        Ok(PortSpec::Address(spec)) => check_address(text, spec),
        Ok(PortSpec::FdName { name, fd }) => {
            assert!(!name.is_empty() && text.contains(name.as_str()));
            let again = match fd {
                Some(fd) => format!("fd:{name}={fd}"),
                None => format!("fd:{name}"),
            };
            assert_eq!(again.parse().as_ref(), Ok(spec.as_ref().expect("a spec")));
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
    // Every address that std parses is a valid `--port`.
    if let Ok(address) = text.parse::<SocketAddr>() {
        let Ok(PortSpec::Address(spec)) = spec else {
            panic!("{text:?} is refused: {spec:?}")
        };
        assert_eq!(
            (spec.port, spec.udp, spec.fd),
            (address.port(), false, None)
        );
        let family = matches!(spec.host, Host::V6(_));
        assert_eq!(family, address.is_ipv6(), "{text:?}: {spec:?}");
    }
}

/// The spec has all parts of the text, and its key has no byte that `SERVER_STARTER_PORT` reserves.
fn check_address(text: &str, spec: &AddressSpec) {
    let key = spec.key(spec.port);
    let key = key.to_str().expect("UTF-8");
    assert!(!key.is_empty() && !key.contains([';', '=']) && !key.contains(char::is_whitespace));
    assert!(!matches!(spec.fd, Some(1 | 2)) && spec.fd.is_none_or(|fd| fd >= 0));

    let mut again = String::new();
    let port = match spec.port {
        // The key has the port that the kernel has chosen.
        0 => "0",
        _ => key.rsplit(':').next().unwrap_or(key),
    };
    assert_eq!(port.parse(), Ok(spec.port));
    match &spec.host {
        Host::AnyV4 => {}
        Host::V4(host) => again += &format!("{host}:"),
        Host::V6(host) => again += &format!("[{host}]:"),
    }
    again += if spec.udp { "u" } else { "" };
    again += port;
    again += &spec.fd.map(|fd| format!("={fd}")).unwrap_or_default();

    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let normalized = |text: &str| {
        text.replace(['[', ']'], "")
            .replace("=0", "=")
            .replace(":0", ":")
    };
    if spec.port != 0 && !compact.contains("=0") {
        assert_eq!(
            normalized(&compact),
            normalized(&again),
            "{text:?}: {spec:?}"
        );
    }
    let parsed = again.parse::<PortSpec>();
    let Ok(PortSpec::Address(parsed)) = parsed else {
        panic!("{text:?}, written as {again:?}: {parsed:?}")
    };
    let parts = |spec: &AddressSpec| (spec.host.clone(), spec.port, spec.udp, spec.fd);
    assert_eq!(parts(&parsed), parts(spec), "{text:?}: {again:?}");
}

fn check_path(data: &[u8]) {
    let fits = (1..=107).contains(&data.len()) && !data.iter().any(|b| b";=".contains(b));
    match PathSpec::new(OsStr::from_bytes(data)) {
        Ok(spec) => assert!(fits && spec.as_path().as_os_str().as_bytes() == data),
        Err(reason) => assert!(!fits && !reason.is_empty()),
    }
}

/// The number of descriptors, from 3 up, that count as open.
const OPEN: i32 = 20;

/// Values of `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`, separated by NUL. A missing value means
/// that the variable is not set. `self` stands for the pid of this process.
pub fn inherited(data: &[u8]) {
    let values: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let own = std::process::id();
    let value = |name: &str| {
        let names = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
        let at = names.iter().position(|known| *known == name)?;
        match *values.get(at)? {
            b"self" => Some(OsString::from(own.to_string())),
            value => Some(OsStr::from_bytes(value).to_owned()),
        }
    };
    let result = parse_listen_fds(value, |fd| (0..FIRST_FD + OPEN).contains(&fd));

    let number = |name| {
        let value = value(name).filter(|value| !value.as_bytes().starts_with(b"-"))?;
        integer(value.as_bytes())
    };
    let ours = number("LISTEN_PID") == Some(own.into()) && value("LISTEN_FDS").is_some();
    let count = number("LISTEN_FDS").filter(|count| (0..=OPEN.into()).contains(count));
    match result {
        Ok(None) => assert!(!ours),
        Err(_) => assert!(ours && count.is_none()),
        Ok(Some((passed, names))) => {
            assert!(ours);
            assert_eq!(i128::try_from(passed).ok(), count);
            let value = value("LISTEN_FDNAMES").unwrap_or_default();
            let joined = names.join(OsStr::new(":"));
            match names.len() == passed {
                true => assert!(joined == value || passed == 0),
                false => assert!(names.is_empty()),
            }
        }
    }
}
