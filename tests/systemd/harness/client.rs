//! Clients, inside the network of a machine: threads of ours that have moved there.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

use super::{BOUND, Lab, eventually};

impl Lab {
    /// Runs this in the machine's network, in a thread of its own.
    pub(crate) fn in_network<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = File::open(self.network()).unwrap();
        std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            action()
        })
    }

    /// What is answered at this port of 127.0.0.1.
    pub(crate) fn get(&self, port: u16) -> io::Result<String> {
        self.get_from((Ipv4Addr::LOCALHOST, port))
    }

    pub(crate) fn get_from(&self, address: impl Into<SocketAddr>) -> io::Result<String> {
        let address = address.into();
        self.in_network(move || ask_tcp(address, "/"))
            .join()
            .unwrap()
    }

    pub(crate) fn get_from_unix(&self, path: &str) -> io::Result<String> {
        ask(UnixStream::connect(self.path(path))?, "/")
    }

    /// Asks for something that takes its time.
    pub(crate) fn get_slowly(&self, port: u16, millis: u32) -> JoinHandle<io::Result<String>> {
        let target = format!("/slow?ms={millis}");
        self.in_network(move || ask_tcp((Ipv4Addr::LOCALHOST, port).into(), &target))
    }
}

fn ask_tcp(address: SocketAddr, target: &str) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    ask(stream, target)
}

/// The body of the answer. A connection that ends without a whole answer was reset.
fn ask(mut stream: impl Read + Write, target: &str) -> io::Result<String> {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: lab\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) if body.ends_with('\n') => Ok(body.trim_end().to_owned()),
        _ => Err(ErrorKind::ConnectionReset.into()),
    }
}

/// Clients that connect without a pause.
pub(crate) struct Load {
    outcome: Arc<Mutex<Outcome>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// What happened to them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    /// Accepted, and then lost before it was answered.
    pub(crate) reset: u64,
    pub(crate) other: Vec<String>,
}

impl Load {
    pub(crate) fn on(lab: &Lab, port: u16) -> Load {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (outcome, stop) = (Arc::clone(&outcome), Arc::clone(&stop));
            lab.in_network(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask_tcp((Ipv4Addr::LOCALHOST, port).into(), "/");
                    outcome.lock().unwrap().count(answer);
                }
            })
        };
        let clients = (0..4).map(client).collect();
        Load {
            outcome,
            stop,
            clients,
        }
    }

    /// Waits until so many more have been answered.
    pub(crate) fn goes_on(&self, more: u64) {
        let answered = || self.outcome.lock().unwrap().answered;
        let wanted = answered() + more;
        eventually("clients are answered", || {
            (answered() >= wanted).then_some(())
        });
    }

    pub(crate) fn end(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|c| c.join().unwrap());
        let outcome = self.outcome.lock().unwrap();
        outcome.clone()
    }
}

impl Outcome {
    fn count(&mut self, answer: io::Result<String>) {
        match answer.map_err(|e| (e.kind(), e)) {
            Ok(_) => self.answered += 1,
            Err((ErrorKind::ConnectionRefused, _)) => self.refused += 1,
            Err((ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _)) => self.reset += 1,
            Err((_, other)) => self.other.push(other.to_string()),
        }
    }
}
