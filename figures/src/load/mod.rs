//! Clients that ask a server, and note how long each answer took and which failed.
//!
//! With a pace, requests have their times, and latency counts from there: when the server does not answer for
//! a while, all who would have come meanwhile are seen to wait. Without one, each client asks again as soon as
//! it has its answer.

mod series;

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{setsockopt, sockopt};

pub(crate) use series::{BUCKET, Bucket, buckets, percentile};

/// Clients at the same time.
const CLIENTS: usize = 4;

/// The longest that connecting, asking or answering may take.
const PATIENCE: Duration = Duration::from_secs(5);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: figures\r\nConnection: close\r\n\r\n";

/// Whom to ask, and how.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddrV4,
    /// What the right answer begins with.
    pub(crate) token: &'a str,
    /// Requests in a second; `None` for as many as can be.
    pub(crate) pace: Option<u32>,
    pub(crate) started: Instant,
    pub(crate) lasts: Duration,
}

/// A request that was answered.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// When it was due, from the start on.
    pub(crate) at: Duration,
    /// From then until the whole answer was there.
    pub(crate) latency: Duration,
}

/// What became of all requests.
#[derive(Default)]
pub(crate) struct Traffic {
    /// In no particular order.
    pub(crate) answered: Vec<Sample>,
    /// Why the others were not.
    pub(crate) failures: Vec<String>,
}

impl Load<'_> {
    /// Asks until the time is over, and does something else meanwhile, in this thread.
    pub(crate) fn while_doing<T>(&self, action: impl FnOnce() -> T) -> (Traffic, T) {
        let tickets = AtomicU64::new(0);
        thread::scope(|scope| {
            let client = || scope.spawn(|| self.client(&tickets));
            let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
            let result = action();
            let mut traffic = Traffic::default();
            for client in clients {
                match client.join() {
                    Ok(part) => {
                        traffic.answered.extend(part.answered);
                        traffic.failures.extend(part.failures);
                    }
                    Err(_) => traffic.failures.push("a client panicked".to_owned()),
                }
            }
            (traffic, result)
        })
    }

    fn client(&self, tickets: &AtomicU64) -> Traffic {
        // Else the kernel lets each sleep last 50 µs longer; if it has to, so be it.
        let _ = set_timerslack(1);
        let mut traffic = Traffic::default();
        loop {
            let at = match self.pace {
                Some(pace) => {
                    let ticket = tickets.fetch_add(1, Ordering::Relaxed);
                    let at = Duration::from_secs(1) * ticket as u32 / pace;
                    sleep(at.saturating_sub(self.started.elapsed()));
                    at
                }
                None => self.started.elapsed(),
            };
            if at >= self.lasts {
                return traffic;
            }
            match ask(self.address, self.token) {
                Ok(()) => traffic.answered.push(Sample {
                    at,
                    latency: self.started.elapsed().saturating_sub(at),
                }),
                Err(reason) => traffic.failures.push(reason),
            }
        }
    }
}

/// One request, whose answer has to be right and complete.
pub(crate) fn ask(address: SocketAddrV4, token: &str) -> Result<(), String> {
    body(address).and_then(|body| {
        let right = body.starts_with(token) && body.ends_with('\n');
        right.then_some(()).ok_or(format!("wrong answer: {body:?}"))
    })
}

/// What the server answers.
pub(crate) fn body(address: SocketAddrV4) -> Result<String, String> {
    let during = |action: &'static str| move |error| format!("{action}: {error}");
    let mut stream =
        TcpStream::connect_timeout(&address.into(), PATIENCE).map_err(during("connect"))?;
    // The server closes first, and its socket would wait for a minute; this ends it, so that ports do not run out.
    let at_once = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &at_once)
        .map_err(|error| format!("SO_LINGER: {error}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(during("time limit"))?;
    stream.write_all(REQUEST).map_err(during("request"))?;
    let mut response = String::new();
    stream
        .read_to_string(&mut response)
        .map_err(during("answer"))?;
    let wrong = || format!("no whole answer: {response:?}");
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    if head.starts_with("HTTP/1.1 200 ") && length == Some(&*body.len().to_string()) {
        Ok(body.to_owned())
    } else {
        Err(wrong())
    }
}
