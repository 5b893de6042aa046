//! HTTP clients of the example worker `hello`, and load from them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{BOUND, Load, Process, Supervisor};

/// A client of the worker `hello`.
#[derive(Clone, Debug)]
pub enum Client {
    /// By TCP.
    Tcp(SocketAddr),
    /// By a unix socket.
    Unix(PathBuf),
}

impl Client {
    /// A client of this port of 127.0.0.1.
    pub fn of_port(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Requests `target`. Returns the body of the response, which must be complete and successful, without its newline.
    pub fn get(&self, target: &str) -> io::Result<String> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, BOUND)?;
                stream.set_read_timeout(Some(BOUND))?;
                stream.set_write_timeout(Some(BOUND))?;
                get(stream, target)
            }
            Self::Unix(socket) => get(connect_unix(socket)?, target),
        }
    }

    /// Requests `/`, which must succeed. Returns the generation and the process that have responded.
    #[track_caller]
    pub fn hello(&self) -> (u32, Process) {
        let body = self.get("/");
        let body = body.unwrap_or_else(|e| panic!("no response to {self:?}: {e}"));
        parse_hello(&body).unwrap_or_else(|| panic!("the response to {self:?} is {body:?}"))
    }
}

impl Supervisor {
    /// A client of `127.0.0.1:PORT`.
    pub fn client(&self) -> Client {
        Client::of_port(self.port(0))
    }
}

/// Connects to this port of 127.0.0.1, within `timeout`.
pub fn connect_tcp(port: u16, timeout: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), timeout)
}

/// Connects to a unix socket. Reading and writing fail after [`BOUND`].
pub fn connect_unix(socket: impl AsRef<std::path::Path>) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    Ok(stream)
}

/// `hello from generation N, pid P`.
fn parse_hello(body: &str) -> Option<(u32, Process)> {
    let numbers = body.strip_prefix("hello from generation ")?;
    let (generation, pid) = numbers.split_once(", pid ")?;
    Some((generation.parse().ok()?, Process(pid.parse().ok()?)))
}

fn get(mut stream: impl Read + Write, target: &str) -> io::Result<String> {
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let complete = response.split_once("\r\n\r\n");
    let Some((head, body)) = complete.filter(|(_, body)| body.ends_with('\n')) else {
        let message = format!("the response ends after {response:?}");
        return Err(io::Error::new(ErrorKind::ConnectionReset, message));
    };
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(io::Error::other(format!("the response is {response:?}")));
    }
    Ok(body.trim_end().to_owned())
}

/// Clients that send one request after the other to the worker `hello`.
pub struct HttpLoad {
    load: Load,
    outcome: Arc<Mutex<HttpOutcome>>,
}

/// What became of the requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HttpOutcome {
    /// The worker has responded.
    pub answered: u64,
    /// The connection was refused.
    pub refused: u64,
    /// The connection was lost before the response was complete.
    pub reset: u64,
    /// Other errors.
    pub other: Vec<String>,
}

impl HttpLoad {
    /// The number of clients.
    pub const CLIENTS: u64 = 4;

    /// Starts the clients. Each thread calls `enter` first.
    pub fn start(client: &Client, enter: impl Fn() + Clone + Send + 'static) -> Self {
        let outcome = Arc::<Mutex<HttpOutcome>>::default();
        let mut load = Load::new();
        for _ in 0..Self::CLIENTS {
            let (client, enter, outcome) = (client.clone(), enter.clone(), Arc::clone(&outcome));
            load.spawn(move |load| {
                enter();
                while load.goes_on() {
                    let response = client.get("/");
                    if response.is_ok() {
                        load.count_answer();
                    }
                    outcome.lock().unwrap().count(response);
                }
            });
        }
        Self { load, outcome }
    }

    /// Waits until so many more requests are answered.
    #[track_caller]
    pub fn wait_answers(&self, more: u64) {
        self.load.wait_answers(more);
    }

    /// Stops the clients.
    #[track_caller]
    pub fn stop(self) -> HttpOutcome {
        self.load.stop();
        self.outcome.lock().unwrap().clone()
    }
}

impl HttpOutcome {
    fn count(&mut self, response: io::Result<String>) {
        match response {
            Ok(body) if parse_hello(&body).is_some() => self.answered += 1,
            Ok(body) => self.other.push(format!("the response is {body:?}")),
            Err(e) => match e.kind() {
                ErrorKind::ConnectionRefused => self.refused += 1,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.reset += 1,
                _ => self.other.push(e.to_string()),
            },
        }
    }

    /// No request failed, and some were answered.
    #[track_caller]
    pub fn expect_no_failure(&self) {
        let Self {
            answered,
            refused,
            reset,
            other,
        } = self;
        assert!((*refused, *reset) == (0, 0) && other.is_empty(), "{self:?}");
        assert!(*answered > 0, "{self:?}");
    }
}
