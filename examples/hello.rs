//! A small HTTP/1.1 server to try `start_server` with.
//!
//! ```console
//! $ cargo build --release --examples
//! $ start_server --port=8080 -- target/release/examples/hello &
//! $ curl localhost:8080
//! hello from generation 1, pid 1234
//! $ curl 'localhost:8080/slow?ms=5000' &   # a request to restart under: it is answered
//! $ kill -HUP %1                           # a new generation takes over
//! ```
//!
//! On SIGTERM (or INT, or QUIT) it drains: it accepts no more, answers what it has accepted, and
//! exits 0. What it leaves in the sockets' queues is accepted by the next generation.

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

/// How long a client may take to send the head of its request, and how many bytes that may have.
const REQUEST_TIME: Duration = Duration::from_secs(5);
const REQUEST_SIZE: usize = 8 * 1024;
/// How long we wait for the client to close after the answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// `/slow?ms=…` is no slower than this.
const SLOWEST: Duration = Duration::from_secs(60);
/// How often a draining process looks whether it is done, and how long nudging may hold it up.
const DRAIN_TICK: Duration = Duration::from_millis(20);
const NUDGING_TIME: Duration = Duration::from_secs(5);

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
        eprintln!("hello: {error}"); // it serves all the same
    }
    stop.wait();
    drain(acceptors);
    Ok(())
}

/// Waits until no acceptor accepts any more and every connection is closed.
fn drain(acceptors: &[Acceptor]) {
    let nudge_until = Instant::now() + NUDGING_TIME;
    loop {
        thread::sleep(DRAIN_TICK);
        let accepting = acceptors.iter().filter(|it| !it.left.load(SeqCst));
        let nudged = accepting.flat_map(|it| [it.nudge(), it.nudge()]).count();
        // In this order: once the acceptors have left, fewer and fewer are in flight.
        if (nudged == 0 || Instant::now() > nudge_until) && IN_FLIGHT.load(SeqCst) == 0 {
            return;
        }
    }
}

/// Waits until one of the descriptors is readable, or the time is over; says which are.
fn wait<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: PollTimeout) -> [bool; N] {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while poll(&mut fds, timeout).is_err() {} // EINTR
    fds.map(|fd| fd.any() == Some(true))
}

fn acceptors() -> Result<Vec<Acceptor>, Box<dyn Error>> {
    let mut acceptors = Vec::new();
    for listener in listeners()? {
        let (key, socket, left) = (listener.key, listener.socket, AtomicBool::new(false));
        match socket {
            Socket::Tcp(_) | Socket::Unix(_) => acceptors.push(Acceptor { socket, left }),
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
    /// It will accept no more.
    left: AtomicBool,
}

impl Acceptor {
    /// Until told to stop. The socket is shared with the other generations, which cuts both ways.
    /// A connection we do not accept is theirs: so `stop` counts first, and we leave at once.
    /// A connection that `poll` has seen may be theirs already: then `accept` fails if somebody
    /// made the socket non-blocking, and otherwise blocks until the next connection comes.
    /// We do not make it non-blocking ourselves: that flag is shared too, and a generation that
    /// relies on the other setting would break. `nudge` takes care of the blocked acceptor.
    fn run(&self, stop: Stop) {
        while let [false, _] = wait([stop.as_fd(), self.socket.as_fd()], PollTimeout::NONE) {
            match self.accept() {
                Ok(connection) => serve_in_background(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Out of descriptors, say: meanwhile the connection waits in the queue.
                    eprintln!("hello: cannot accept: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
        self.left.store(true, SeqCst);
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

    /// Wakes an acceptor that is blocked in `accept` by connecting to it and hanging up: to exit
    /// over its head could lose the connection it is about to return with. If another generation
    /// gets it instead, that does no harm, but we must try again (or come as a pair).
    fn nudge(&self) -> io::Result<OwnedFd> {
        Ok(match &self.socket {
            Socket::Tcp(tcp) => TcpStream::connect_timeout(&tcp.local_addr()?, DRAIN_TICK)?.into(),
            Socket::Unix(unix) => UnixStream::connect_addr(&unix.local_addr()?)?.into(),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

/// One thread per connection. If there is none to be had, the acceptor serves it itself: what
/// was accepted must be answered.
fn serve_in_background(connection: Connection) {
    let connection = Arc::new(connection);
    let same = Arc::clone(&connection);
    if thread::Builder::new().spawn(move || serve(&same)).is_err() {
        serve(&connection);
    }
}

/// Answers one request and closes. No keep-alive: a client may send its next request in the very
/// moment a draining server closes the idle connection, and that request would be lost.
fn serve(connection: &Connection) {
    // After an error nobody is left to answer: the client has gone, or never sent its request.
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

/// What a complete request asks for.
fn target(head: &str) -> Option<&str> {
    let (head, _body) = head.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ').skip(1);
    let (target, version) = (words.next()?, words.next()?);
    version.starts_with("HTTP/1.").then_some(target)
}

/// A connection in flight, until it is dropped. TCP or unix: as a `File` it reads and writes.
struct Connection(File);

impl Connection {
    /// The request up to its empty line; the first bytes of one that is too large.
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

    /// Says that the answer is complete, and reads until the client has closed: closing over
    /// unread bytes (a request's body) resets the connection, and the answer may go with it.
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
