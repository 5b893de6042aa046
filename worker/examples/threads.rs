//! A small HTTP/1.1 server with a thread per connection, on std alone, that loses no request when it
//! is replaced.
//!
//! ```console
//! $ cargo run --example threads                                    # alone: on 127.0.0.1:8080
//! $ start_server --port=8080 -- target/debug/examples/threads      # under start_server
//! ```
//!
//! When a stop is requested, it stops accepting at once: the next generation accepts the connections
//! in the queue. It answers accepted requests with `Connection: close`, and exits with 0 when the
//! last thread has ended.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use server_starter_worker::{Stop, generation, listeners_or_bind, notify};

/// How long a client may pause within a request, and how long it may take to close the connection
/// after the last response.
const SILENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept, and how often its thread checks whether the server drains.
const IDLE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);
/// How long a client may still use an idle connection while the server drains.
const GRACE: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const LONGEST: u64 = 8 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
    // Another generation may take the connection between `poll` and `accept`.
    listener.set_nonblocking(true)?;
    eprintln!("threads: on {}", listener.local_addr()?);
    notify::ready()?;

    // The scope ends when all its threads have ended.
    let served = thread::scope(|scope| {
        while stop.or_readable(&listener)? {
            let Some(connection) = accept(&listener) else {
                continue;
            };
            // If no thread can be started, serve here: an accepted connection must be answered.
            let shared = Arc::clone(&connection);
            let run = move || serve(&shared, stop);
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
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
            // For instance the limit on open files: the connection waits in the queue.
            eprintln!("threads: cannot accept: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    None
}

/// Serves a connection. Errors are ignored: the client has disconnected, or sent no whole request.
fn serve(connection: &TcpStream, stop: Stop) {
    let _ = answer_requests(connection, stop);
}

/// Answers one request after the other, until the client closes the connection or the server drains.
fn answer_requests(mut connection: &TcpStream, stop: Stop) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    while wait_for_request(&mut reader, connection, stop)? {
        connection.set_read_timeout(Some(SILENCE))?;
        let Some(request) = Request::read(&mut reader)? else {
            break;
        };
        let body = format!(
            "hello from generation {}, pid {}\n",
            generation().unwrap_or(0),
            std::process::id()
        );
        // Checked as late as possible.
        let last = !request.keep_alive || stop.requested();
        write!(
            connection,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n{body}",
            body.len(),
            if last { "close" } else { "keep-alive" },
        )?;
        if last {
            // Closing with unread bytes would reset the connection, and could lose the response.
            connection.shutdown(Shutdown::Write)?;
            connection.set_read_timeout(Some(SILENCE))?;
            io::copy(&mut reader, &mut io::sink())?;
            break;
        }
    }
    Ok(())
}

/// Waits for the first byte of a request, for `IDLE`, or for `GRACE` once the server drains: a
/// request may be on its way. Returns whether a byte arrived.
fn wait_for_request(
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
    /// Reads the head of a request without a body. `None` if it is incomplete, or not HTTP/1.1.
    /// Simplified: a real server uses a parser.
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
