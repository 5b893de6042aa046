//! Garbage for both ends of the control socket; see [`crate::fuzzing`].

use serde_json::Value;

use super::protocol::{Failure, NAME};
use super::varlink::{Answer, Call, Meaning, message};

/// One message, to the supervisor and from it.
pub fn call(data: &[u8]) {
    let value = serde_json::from_slice::<Value>(data).ok();
    let call = Call::parse(data);
    match &call {
        Some(call) => {
            assert!(data.trim_ascii_start().starts_with(b"{"), "no call is this");
            // What nobody wants to know is not looked at, and may be no good JSON.
            if let Some(value) = value {
                assert_eq!(value["method"], *call.method);
            }
            let written = message(call);
            let (end, text) = written.split_last().expect("a message");
            assert!(*end == 0 && !text.contains(&0));
            let read = Call::parse(text).expect("what we write is a call");
            assert_eq!(message(&read), written);
            assert_eq!(read.meaning(), call.meaning());
            meaning(call);
        }
        None => assert!(!is_call(data, value.as_ref()), "a call is refused"),
    }
    answer(data);
}

/// Our own methods, and nobody else's, are for the supervisor.
fn meaning(call: &Call) {
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

/// As the specification has it. Where a name stands twice, no verdict is wrong.
fn is_call(data: &[u8], value: Option<&Value>) -> bool {
    let Some(Value::Object(call)) = value else {
        return false;
    };
    let is_bool = |name| call.get(name).is_none_or(Value::is_boolean);
    let parameters = call.get("parameters");
    let names = ["method", "parameters", "more", "oneway"];
    let text = String::from_utf8_lossy(data);
    let twice = names.iter().any(|name| text.matches(name).count() > 1) || text.contains('\\');
    call.get("method").is_some_and(Value::is_string)
        && parameters.is_none_or(|p| p.is_object() || p.is_null())
        && is_bool("more")
        && is_bool("oneway")
        && !twice
}

fn answer(data: &[u8]) {
    if let Some(Answer::Results(_, _) | Answer::Other(_)) = Answer::parse(data) {
        assert!(
            data.trim_ascii_start().starts_with(b"{"),
            "no reply is this"
        );
    }
    let text = String::from_utf8_lossy(data).into_owned();
    let failure = Failure::ReloadFailed {
        kept: (data.len() % 3 > 0).then_some(data.len() as u64),
        log: (data.len() % 2 > 0).then(|| text.clone()),
        reason: text,
    };
    let mut written = failure.to_message();
    assert_eq!(written.pop(), Some(0));
    assert!(!written.contains(&0), "that would be two messages");
    match Answer::parse(&written) {
        Some(Answer::Failure(read)) => assert_eq!(read, failure),
        other => panic!("{other:?}"),
    }
}
