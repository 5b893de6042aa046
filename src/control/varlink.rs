//! The Varlink protocol: JSON objects, each with a NUL byte behind it. A call names a method; a reply
//! has its results or an error's name, and may say that more replies follow.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::protocol::{DESCRIPTION, Failure, Method, NAME};
use crate::machine::Until;

/// What every Varlink service understands.
const SERVICE: &str = "org.varlink.service";
const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");

/// A client's message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Map<String, Value>>,
    /// Several replies are welcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) more: bool,
    /// No reply is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) oneway: bool,
}

/// What to do about a call.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// It is answered at once: with these parameters,
    Reply(Value),
    /// or with this error and its parameters.
    Error(String, Value),
    /// It is for the supervisor.
    Method(Method),
}

impl Call {
    pub(super) fn new(method: &str, parameters: Map<String, Value>, more: bool) -> Call {
        Call {
            method: format!("{NAME}.{method}"),
            parameters: Some(parameters),
            more,
            oneway: false,
        }
    }

    /// `None` if this is no call: the client speaks another protocol.
    pub(super) fn parse(message: &[u8]) -> Option<Call> {
        object(message)
    }

    pub(super) fn meaning(&self) -> Meaning {
        let Some((interface, method)) = self.method.rsplit_once('.') else {
            return service_error("InvalidParameter", json!({"parameter": "method"}));
        };
        let none = Map::new();
        let parameters = self.parameters.as_ref().unwrap_or(&none);
        let known: &[&str] = match (interface, method) {
            (SERVICE, "GetInterfaceDescription") => &["interface"],
            (NAME, "Reload") => &["until"],
            _ => &[],
        };
        let invalid = |name: &str| service_error("InvalidParameter", json!({"parameter": name}));
        let meaning = match (interface, method) {
            (SERVICE, "GetInfo") => Meaning::Reply(info()),
            (SERVICE, "GetInterfaceDescription") => match parameters.get("interface") {
                Some(Value::String(name)) => describe(name),
                _ => return invalid("interface"),
            },
            (NAME, "Status") => Meaning::Method(Method::Status),
            (NAME, "Reload") => match until(parameters.get("until")) {
                Some(until) => Meaning::Method(Method::Reload(until)),
                None => return invalid("until"),
            },
            (NAME, "Stop") => Meaning::Method(Method::Stop),
            (NAME, "Upgrade") => Meaning::Method(Method::Upgrade),
            (SERVICE | NAME, _) => {
                return service_error("MethodNotFound", json!({"method": self.method}));
            }
            _ => return service_error("InterfaceNotFound", json!({"interface": interface})),
        };
        match parameters.keys().find(|key| !known.contains(&&***key)) {
            Some(unknown) => invalid(unknown),
            None => meaning,
        }
    }
}

/// An object alone: serde would take a list for one, its fields in order.
fn object<T: DeserializeOwned>(message: &[u8]) -> Option<T> {
    let is_object = message.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(message).ok())?
}

fn until(value: Option<&Value>) -> Option<Until> {
    match value {
        None | Some(Value::Null) => Some(Until::default()),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    }
}

fn info() -> Value {
    json!({
        "vendor": "start_server",
        "product": "start_server",
        "version": env!("CARGO_PKG_VERSION"),
        "url": "man:start_server(1)",
        "interfaces": [NAME, SERVICE],
    })
}

fn describe(interface: &str) -> Meaning {
    match interface {
        NAME => Meaning::Reply(json!({"description": DESCRIPTION})),
        SERVICE => Meaning::Reply(json!({"description": SERVICE_DESCRIPTION})),
        _ => service_error("InterfaceNotFound", json!({"interface": interface})),
    }
}

fn service_error(name: &str, parameters: Value) -> Meaning {
    Meaning::Error(format!("{SERVICE}.{name}"), parameters)
}

/// A reply, as it goes over the wire.
pub(super) fn reply(parameters: impl Serialize, continues: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Reply<T> {
        parameters: T,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        continues: bool,
    }
    message(&Reply {
        parameters,
        continues,
    })
}

/// An error, as it goes over the wire.
pub(super) fn error(name: &str, parameters: &Value) -> Vec<u8> {
    message(&json!({"error": name, "parameters": parameters}))
}

pub(super) fn message(of: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(of).unwrap_or_default(); // fails for no type of ours
    bytes.push(0);
    bytes
}

impl Failure {
    pub(super) fn to_message(&self) -> Vec<u8> {
        let (name, parameters) = match self {
            Failure::ReloadFailed { reason, kept, log } => (
                "ReloadFailed",
                json!({"reason": reason, "kept": kept, "log": log}),
            ),
            Failure::UpgradeFailed { reason } => ("UpgradeFailed", json!({"reason": reason})),
            Failure::Stopping => ("Stopping", json!({})),
        };
        error(&format!("{NAME}.{name}"), &parameters)
    }

    /// The failure that a reply describes; `None` if it is another error.
    fn parse(name: &str, parameters: &Value) -> Option<Failure> {
        let reason = || parameters["reason"].as_str().unwrap_or_default().to_owned();
        match name.strip_prefix(NAME)?.strip_prefix('.')? {
            "ReloadFailed" => Some(Failure::ReloadFailed {
                reason: reason(),
                kept: parameters["kept"].as_u64(),
                log: parameters["log"].as_str().map(str::to_owned),
            }),
            "UpgradeFailed" => Some(Failure::UpgradeFailed { reason: reason() }),
            "Stopping" => Some(Failure::Stopping),
            _ => None,
        }
    }
}

/// A reply, as a client sees it.
#[derive(Debug)]
pub(super) enum Answer {
    /// Results, and whether more follow.
    Results(Value, bool),
    Failure(Failure),
    /// An error of the protocol: its name.
    Other(String),
}

impl Answer {
    /// `None` if this is no reply.
    pub(super) fn parse(message: &[u8]) -> Option<Answer> {
        #[derive(Deserialize)]
        struct Reply {
            #[serde(default)]
            parameters: Value,
            #[serde(default)]
            continues: bool,
            error: Option<String>,
        }
        let reply: Reply = object(message)?;
        Some(match reply.error {
            None => Answer::Results(reply.parameters, reply.continues),
            Some(name) => match Failure::parse(&name, &reply.parameters) {
                Some(failure) => Answer::Failure(failure),
                None => Answer::Other(name),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(call: &str) -> Meaning {
        Call::parse(call.as_bytes()).expect(call).meaning()
    }

    #[test]
    fn calls_that_are_understood() {
        let reload = |until| Meaning::Method(Method::Reload(until));
        let cases = [
            ("Status", "{}", Meaning::Method(Method::Status)),
            ("Stop", "null", Meaning::Method(Method::Stop)),
            ("Upgrade", "{}", Meaning::Method(Method::Upgrade)),
            ("Reload", "{}", reload(Until::Drained)),
            ("Reload", r#"{"until":null}"#, reload(Until::Drained)),
            ("Reload", r#"{"until":"ready"}"#, reload(Until::Ready)),
        ];
        for (method, parameters, expected) in cases {
            let call = format!(r#"{{"method":"{NAME}.{method}","parameters":{parameters}}}"#);
            assert_eq!(meaning(&call), expected, "{call}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let cases = [
            ("x.Y", "{}", "InterfaceNotFound"),
            ("Status", "{}", "InvalidParameter"),
            (&format!("{NAME}.Nothing"), "{}", "MethodNotFound"),
            (&format!("{NAME}.Status"), r#"{"a":1}"#, "InvalidParameter"),
            (
                &format!("{NAME}.Reload"),
                r#"{"until":"later"}"#,
                "InvalidParameter",
            ),
            (
                "org.varlink.service.GetInterfaceDescription",
                r#"{"interface":"x.y"}"#,
                "InterfaceNotFound",
            ),
        ];
        for (method, parameters, expected) in cases {
            let call = format!(r#"{{"method":"{method}","parameters":{parameters}}}"#);
            let Meaning::Error(name, _) = meaning(&call) else {
                panic!("{call} is taken")
            };
            assert_eq!(name, format!("{SERVICE}.{expected}"), "{call}");
        }
        let list = format!("[\"{NAME}.Stop\"]");
        for garbage in [
            "",
            "{}",
            "[]",
            &list,
            "null",
            "{\"method\":1}",
            "GET / HTTP/1.1",
        ] {
            assert!(Call::parse(garbage.as_bytes()).is_none(), "{garbage}");
        }
    }

    #[test]
    fn a_failure_is_the_same_on_both_sides() {
        let failures = [
            Failure::ReloadFailed {
                reason: "exit code 1".to_owned(),
                kept: Some(7),
                log: None,
            },
            Failure::UpgradeFailed {
                reason: "it crashed".to_owned(),
            },
            Failure::Stopping,
        ];
        for failure in failures {
            let mut message = failure.to_message();
            assert_eq!(message.pop(), Some(0));
            let Some(Answer::Failure(read)) = Answer::parse(&message) else {
                panic!("{failure:?}")
            };
            assert_eq!(read, failure);
        }
    }
}
