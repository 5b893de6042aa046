//! The server under load: HTTP, one request per connection, one at a time.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use server_starter_worker::{Signal, Stop, listeners, notify};

use super::prepare;

/// How long it takes to start, as a server does that has code or data to load.
pub(crate) const START: Duration = Duration::from_millis(50);

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// `figures --serves TOKEN`: says READY=1 when it has started, and drains at TERM.
pub(crate) fn serves(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let token = arguments.next().unwrap_or_default();
    match serve(token.to_string_lossy().into_owned()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures --serves: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(token: String) -> Result<(), Box<dyn Error>> {
    let (_, answer) = prepare(token)?;
    let stop = Stop::on(&[Signal::Term])?;
    let listener = listeners()?.take_tcp()?;
    listener.set_nonblocking(true)?;
    sleep(START);
    notify::ready()?;

    let body = format!("{answer}\n");
    let response = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // One at a time: told to stop, it has answered everything that it has accepted.
    while stop.or_readable(&listener)? {
        match listener.accept() {
            // A client that has gone is its own affair: it counts what it misses.
            Ok((connection, _)) => drop(respond(connection, &response)),
            // Another generation was faster.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn respond(mut connection: TcpStream, response: &str) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 512];
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => request.extend_from_slice(&buffer[..length]),
            // Told to stop just now; with a time limit the kernel does not go on by itself, signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    connection.write_all(response.as_bytes())
}
