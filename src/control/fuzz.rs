//! Fuzz target `call`: messages of the control socket, see [`crate::fuzzing`].

use serde_json::Value;

use super::protocol::{Failure, NAME};
use super::varlink::{Answer, Call, Meaning, message};

/// Parses one message as a call to the supervisor, and as an answer from it.
pub fn call(data: &[u8]) {
    let value = serde_json::from_slice::<Value>(data).ok();
    let call = Call::parse(data);
    match &call {
        Some(call) => {
            assert!(data.trim_ascii_start().starts_with(b"{"), "not a call");
            // `None` if a field that `Call` ignores is malformed.
            if let Some(value) = value {
                assert_eq!(value["method"], *call.method);
            }
            let written = message(call);
            let (end, text) = written.split_last().expect("a message");
            assert!(*end == 0 && !text.contains(&0));
            let again = Call::parse(text).expect("the call that was written");
            assert_eq!(message(&again), written);
            assert_eq!(again.meaning(), call.meaning());
            check_meaning(call);
        }
        None => assert!(!is_call(data, value.as_ref()), "a call is refused"),
    }
    check_answer(data);
}

/// Only the methods of our interface reach the supervisor.
fn check_meaning(call: &Call) {
    let ours = call.method.strip_prefix(NAME);
    let ours = ours.is_some_and(|method| [".Status", ".Reload", ".Stop"].contains(&method));
    match call.meaning() {
        Meaning::Method(_) => assert!(ours),
        Meaning::Reply(value) => assert!(value.is_object() && !ours),
        Meaning::Error(name, value) => {
            assert!(name.starts_with("org.varlink.service.") && value.is_object());
        }
    }
}

/// Whether the value is a call by the Varlink specification. False for a repeated name, where the
/// specification leaves the result open.
fn is_call(data: &[u8], value: Option<&Value>) -> bool {
    let Some(Value::Object(call)) = value else {
        return false;
    };
    let is_bool = |name| call.get(name).is_none_or(Value::is_boolean);
    let parameters = call.get("parameters");
    let names = ["method", "parameters", "more", "oneway"];
    let text = String::from_utf8_lossy(data);
    let is_repeated =
        names.iter().any(|name| text.matches(name).count() > 1) || text.contains('\\');
    call.get("method").is_some_and(Value::is_string)
        && parameters.is_none_or(|p| p.is_object() || p.is_null())
        && is_bool("more")
        && is_bool("oneway")
        && !is_repeated
}

/// A failure means the same after writing and parsing it.
fn check_answer(data: &[u8]) {
    if let Some(Answer::Results(_, _) | Answer::Other(_)) = Answer::parse(data) {
        assert!(data.trim_ascii_start().starts_with(b"{"), "not an answer");
    }
    let text = String::from_utf8_lossy(data).into_owned();
    let failure = Failure::ReloadFailed {
        kept: (data.len() % 3 > 0).then_some(data.len() as u64),
        log: (data.len() % 2 > 0).then(|| text.clone()),
        reason: text,
    };
    let mut written = failure.to_message();
    assert_eq!(written.pop(), Some(0));
    assert!(!written.contains(&0), "two messages");
    match Answer::parse(&written) {
        Some(Answer::Failure(parsed)) => assert_eq!(parsed, failure),
        other => panic!("{other:?}"),
    }
}
