//! A small HTTP/1.1 server for trying out `start_server`.
//!
//! ```console
//! $ cargo build --release --examples
//! $ start_server --port=8080 -- target/release/examples/hello &
//! $ curl localhost:8080
//! hello from generation 1, pid 1234
//! $ curl 'localhost:8080/slow?ms=5000' &   # a slow request: it is answered in spite of the restart
//! $ kill -HUP %1                           # a new generation takes over
//! ```
//!
//! On SIGTERM (or INT, or QUIT) it drains: it stops accepting, answers the requests it has accepted,
//! and exits with 0. The next generation accepts the connections that wait in the queue.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use server_starter_worker::{Signal, Socket, Stop, generation, listeners, notify};

/// The longest time for the head of a request to arrive, and its largest size in bytes.
const REQUEST_TIME: Duration = Duration::from_secs(5);
const REQUEST_SIZE: usize = 8 * 1024;
/// How long to wait for the client to close the connection after the response.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// The longest delay of `/slow?ms=…`.
const SLOWEST: Duration = Duration::from_secs(60);
/// How often a draining process checks whether it is done, and the longest time it wakes acceptors.
const DRAIN_TICK: Duration = Duration::from_millis(20);
const WAKE_TIME: Duration = Duration::from_secs(5);

/// Connections accepted and not yet closed.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let stop = Stop::on(&[Signal::Term, Signal::Int, Signal::Quit])?;
    let acceptors: &'static [Acceptor] = acceptors()?.leak();
    for acceptor in acceptors {
        thread::Builder::new().spawn(move || acceptor.run(stop))?;
    }
    if let Err(error) = notify::ready() {
        eprintln!("hello: {error}"); // no reason not to serve
    }
    stop.wait();
    drain(acceptors);
    Ok(())
}

/// Waits until all acceptors have stopped and every connection is closed.
fn drain(acceptors: &[Acceptor]) {
    let wake_until = Instant::now() + WAKE_TIME;
    loop {
        thread::sleep(DRAIN_TICK);
        let accepting = acceptors.iter().filter(|it| !it.stopped.load(SeqCst));
        let woken = accepting.flat_map(|it| [it.wake(), it.wake()]).count();
        // In this order: once all acceptors have stopped, `IN_FLIGHT` can only fall.
        if (woken == 0 || Instant::now() > wake_until) && IN_FLIGHT.load(SeqCst) == 0 {
            return;
        }
    }
}

/// Waits until a descriptor is readable, or the time is over. Returns which of them are readable.
fn wait<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: PollTimeout) -> [bool; N] {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while poll(&mut fds, timeout).is_err() {} // EINTR
    fds.map(|fd| fd.any() == Some(true))
}

fn acceptors() -> Result<Vec<Acceptor>, Box<dyn Error>> {
    let mut acceptors = Vec::new();
    for listener in listeners()? {
        let (key, socket, stopped) = (listener.key, listener.socket, AtomicBool::new(false));
        match socket {
            Socket::Tcp(_) | Socket::Unix(_) => acceptors.push(Acceptor { socket, stopped }),
            _ => eprintln!("hello: {key:?} is no TCP and no unix stream listener"),
        }
    }
    if acceptors.is_empty() {
        return Err("no socket to serve: give start_server a --port or a --path".into());
    }
    Ok(acceptors)
}

/// Accepts the connections of one socket, in a thread of its own.
struct Acceptor {
    socket: Socket,
    /// Whether it has stopped accepting.
    stopped: AtomicBool,
}

impl Acceptor {
    /// Accepts connections until a stop is requested, even if more connections wait: all generations
    /// share the socket, and another one accepts them.
    ///
    /// Another generation may also take a connection between `poll` and `accept`. Then `accept` fails
    /// if the socket is non-blocking, and otherwise blocks until the next connection arrives. This
    /// program does not make the socket non-blocking: the generations share that flag, and one that
    /// relies on a blocking `accept` would break. `wake` wakes a blocked acceptor.
    fn run(&self, stop: Stop) {
        while let [false, _] = wait([stop.as_fd(), self.socket.as_fd()], PollTimeout::NONE) {
            match self.accept() {
                Ok(connection) => serve_in_background(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // For instance the limit on open files: the connection waits in the queue.
                    eprintln!("hello: cannot accept: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
        self.stopped.store(true, SeqCst);
    }

    fn accept(&self) -> io::Result<Connection> {
        let stream: OwnedFd = match &self.socket {
            Socket::Tcp(listener) => listener.accept()?.0.into(),
            Socket::Unix(listener) => listener.accept()?.0.into(),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        IN_FLIGHT.fetch_add(1, SeqCst);
        Ok(Connection(stream.into()))
    }

    /// Wakes an acceptor that is blocked in `accept`: connects to its socket and closes the
    /// connection. Exiting instead could lose a connection that `accept` is about to return. Another
    /// generation may accept this connection, which is harmless; then try again, or connect twice.
    fn wake(&self) -> io::Result<OwnedFd> {
        Ok(match &self.socket {
            Socket::Tcp(tcp) => TcpStream::connect_timeout(&tcp.local_addr()?, DRAIN_TICK)?.into(),
            Socket::Unix(unix) => UnixStream::connect_addr(&unix.local_addr()?)?.into(),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

/// Serves a connection in a thread of its own. If no thread can be started, serves it here: an
/// accepted connection must be answered.
fn serve_in_background(connection: Connection) {
    let connection = Arc::new(connection);
    let shared = Arc::clone(&connection);
    if thread::Builder::new()
        .spawn(move || serve(&shared))
        .is_err()
    {
        serve(&connection);
    }
}

/// Answers one request and closes the connection. No keep-alive: a client may send its next request
/// just when a draining server closes the idle connection, and that request would be lost.
fn serve(connection: &Connection) {
    // Errors are ignored: the client has disconnected, or sent no whole request.
    let _ = connection.read_head().and_then(|head| {
        (&connection.0).write_all(response(&head).as_bytes())?;
        connection.linger()
    });
}

fn response(head: &str) -> String {
    let (status, body) = match target(head) {
        Some(target) => {
            let slow = target.strip_prefix("/slow?ms=").unwrap_or("0");
            thread::sleep(Duration::from_millis(slow.parse().unwrap_or(0)).min(SLOWEST));
            let (generation, pid) = (generation().unwrap_or(0), process::id());
            let body = format!("hello from generation {generation}, pid {pid}\n");
            ("200 OK", body)
        }
        None => ("400 Bad Request", "not an HTTP/1 request\n".into()),
    };
    let length = body.len();
    let fields = format!("Content-Type: text/plain\r\nContent-Length: {length}");
    let body = if head.starts_with("HEAD ") { "" } else { &body };
    format!("HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n{body}")
}

/// The target of a complete request. `None` if the request is malformed.
fn target(head: &str) -> Option<&str> {
    let (head, _body) = head.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ').skip(1);
    let (target, version) = (words.next()?, words.next()?);
    version.starts_with("HTTP/1.").then_some(target)
}

/// A connection, counted in `IN_FLIGHT` until it is dropped. A `File` reads and writes TCP and unix
/// sockets alike.
struct Connection(File);

impl Connection {
    /// Reads a request up to its empty line, or the first `REQUEST_SIZE` bytes of one that is larger.
    fn read_head(&self) -> io::Result<String> {
        let deadline = Instant::now() + REQUEST_TIME;
        let (mut head, mut buffer) = (String::new(), [0; 1024]);
        while !head.contains("\r\n\r\n") && head.len() < REQUEST_SIZE {
            match self.read(&mut buffer, deadline)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => head += &String::from_utf8_lossy(&buffer[..count]),
            }
        }
        Ok(head)
    }

    /// Ends the response, and reads until the client has closed the connection. Closing with unread
    /// bytes (the body of a request) would reset the connection, and could lose the response.
    fn linger(&self) -> io::Result<()> {
        let deadline = Instant::now() + LINGER_TIME;
        shutdown(self.0.as_raw_fd(), Shutdown::Write)?;
        while self.read(&mut [0; 1024], deadline)? > 0 {}
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if left.is_zero() || wait([self.0.as_fd()], timeout) == [false] {
            return Err(io::ErrorKind::TimedOut.into());
        }
        (&self.0).read(buffer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, SeqCst);
    }
}
