//! A small HTTP/1.1 server with a thread per connection, on nothing but std.
//!
//! ```console
//! $ cargo run --example threads                                    # bare: on 127.0.0.1:8080
//! $ start_server --port=8080 -- target/debug/examples/threads      # under start_server
//! ```
//!
//! Told to stop, it accepts no more at once (what waits in the queue is the next generation's),
//! answers what it has accepted with `Connection: close`, and exits 0 when the last thread is done.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use server_starter_worker::{Stop, generation, listeners_or_bind, notify};

/// How long a client may be silent in the middle of a request, and how long we wait for it to take
/// notice of our answer.
const SILENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept, and how often its thread looks whether we are draining.
const IDLE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);
/// How long a client may still use an idle connection when we are draining.
const GRACE: Duration = Duration::from_secs(2);
/// The head of a request is at most this long.
const LONGEST: u64 = 8 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
    // Shared with the other generations: another one may take the connection that we saw.
    listener.set_nonblocking(true)?;
    eprintln!("threads: on {}", listener.local_addr()?);
    notify::ready()?;

    // The scope ends when all its threads have.
    let served = thread::scope(|scope| {
        while stop.or_readable(&listener)? {
            let Some(connection) = accept(&listener) else {
                continue;
            };
            // Without a thread to be had we serve it here: what was accepted must be answered.
            let same = Arc::clone(&connection);
            let serve_it = move || serve(&same, stop);
            if thread::Builder::new()
                .spawn_scoped(scope, serve_it)
                .is_err()
            {
                serve(&connection, stop);
            }
        }
        if let Err(error) = notify::stopping() {
            eprintln!("threads: {error}"); // no reason not to drain
        }
        io::Result::Ok(())
    });
    Ok(served?)
}

fn accept(listener: &TcpListener) -> Option<Arc<TcpStream>> {
    match listener.accept() {
        Ok((connection, _)) => return Some(Arc::new(connection)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => {
            // Out of descriptors, say: meanwhile the connection waits in the queue.
            eprintln!("threads: cannot accept: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    None
}

/// After an error nobody is left to answer: the client has gone, or never sent its request.
fn serve(connection: &TcpStream, stop: Stop) {
    let _ = converse(connection, stop);
}

/// One request after the other, until the client has enough, or we are draining.
fn converse(mut connection: &TcpStream, stop: Stop) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    while request_comes(&mut reader, connection, stop)? {
        connection.set_read_timeout(Some(SILENCE))?;
        let Some(request) = Request::read(&mut reader)? else {
            break;
        };
        let body = format!(
            "hello from generation {}, pid {}\n",
            generation().unwrap_or(0),
            std::process::id()
        );
        // Asked as late as can be.
        let last = !request.keep_alive || stop.requested();
        write!(
            connection,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n{body}",
            body.len(),
            if last { "close" } else { "keep-alive" },
        )?;
        if last {
            // Closing over unread bytes would reset the connection, and the answer with it.
            connection.shutdown(Shutdown::Write)?;
            connection.set_read_timeout(Some(SILENCE))?;
            io::copy(&mut reader, &mut io::sink())?;
            break;
        }
    }
    Ok(())
}

/// Waits for the first byte of a request. While the server runs an idle connection may wait for
/// long; while it drains, as long as a client needs that has just sent its request.
fn request_comes(
    reader: &mut BufReader<&TcpStream>,
    connection: &TcpStream,
    stop: Stop,
) -> io::Result<bool> {
    connection.set_read_timeout(Some(TICK))?;
    let (mut idle, mut draining) = (Duration::ZERO, Duration::ZERO);
    loop {
        match reader.fill_buf() {
            Ok(bytes) => return Ok(!bytes.is_empty()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => idle += TICK,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if stop.requested() {
            draining += TICK;
        }
        if idle >= IDLE || draining >= GRACE {
            return Ok(false);
        }
    }
}

struct Request {
    keep_alive: bool,
}

impl Request {
    /// The head of a request without a body; none if it is not complete, or no HTTP/1.1. An
    /// example: yours has a parser.
    fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Self>> {
        let mut head = String::new();
        let mut reader = reader.take(LONGEST);
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(None);
            }
        }
        let head = head.to_ascii_lowercase();
        let request_line = head.lines().next().unwrap_or_default();
        if !request_line.ends_with(" http/1.1") {
            return Ok(None);
        }
        let close = |field: &str| field.starts_with("connection:") && field.contains("close");
        let keep_alive = !head.lines().any(close);
        Ok(Some(Self { keep_alive }))
    }
}
