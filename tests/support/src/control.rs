//! Messages of the control socket, byte by byte.

use std::io::{self, BufReader, Read};

use serde_json::Value;

use crate::http::connect_unix;

/// A call of a method of `org.serverstarter.Supervisor`, with its parameters as JSON. With `more`, the supervisor
/// reports the progress, too.
pub fn call(method: &str, parameters: &str, more: bool) -> String {
    let method = format!("org.serverstarter.Supervisor.{method}");
    format!(r#"{{"method":"{method}","parameters":{parameters},"more":{more}}}"#) + "\0"
}

/// The next message; `None` if the connection has ended.
pub fn receive(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut message = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) if byte == [0] => {
                let text = String::from_utf8(message);
                return text.map(Some).map_err(io::Error::other);
            }
            Ok(1) => message.extend(byte),
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(io::Error::new(e.kind(), format!("{e}, after {message:?}"))),
        }
    }
}

/// What the supervisor that listens on this socket answers to `Status`.
pub fn status(socket: impl AsRef<std::path::Path>) -> io::Result<Value> {
    let mut stream = connect_unix(socket)?;
    io::Write::write_all(&mut stream, call("Status", "{}", false).as_bytes())?;
    let reply = receive(&mut BufReader::new(stream))?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let reply: Value = serde_json::from_str(&reply)?;
    match reply.get("parameters") {
        Some(status) if reply.get("error").is_none() => Ok(status.clone()),
        _ => Err(io::Error::other(format!("the answer is {reply}"))),
    }
}
