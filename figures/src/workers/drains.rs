//! The worker that takes its time to leave: as long as its clients take.

use std::error::Error;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use server_starter_worker::{Signal, Stop, listeners};

use super::prepare;

/// `figures --drains TOKEN`: answers each connection with a line; told to stop, it accepts no more, and leaves when all
/// its clients have closed their connections.
pub(crate) fn drains(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let token = arguments.next().unwrap_or_default();
    match serve_and_drain(token.to_string_lossy().into_owned()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures --drains: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_and_drain(token: String) -> Result<(), Box<dyn Error>> {
    let (_, answer) = prepare(token)?;
    let line = format!("{answer}\n");
    let stop = Stop::on(&[Signal::Term])?;
    let listener = listeners()?.take_tcp()?;
    listener.set_nonblocking(true)?;
    let mut clients: Vec<TcpStream> = Vec::new();
    while stop.or_readable(&listener)? {
        match listener.accept() {
            Ok((mut client, _)) => {
                // One that has gone already is found out below.
                let _ = client.write_all(line.as_bytes());
                clients.push(client);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
    for mut client in clients {
        // Clients say nothing: this returns when one has gone, by whatever way.
        while matches!(client.read(&mut [0]), Err(error) if error.kind() == ErrorKind::Interrupted)
        {
        }
    }
    Ok(())
}
