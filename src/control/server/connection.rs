//! One client of the control socket: what it has said so far, and what it has still to read.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::{CallId, LONGEST, would_block};
use crate::control::protocol::{Awaited, Method};
use crate::control::varlink::{self, Call, Meaning};
use crate::sys;
use crate::sys::reexec::FdSet;

/// A client.
pub(super) struct Connection {
    stream: UnixStream,
    /// Not yet a whole message.
    heard: Vec<u8>,
    /// Not yet taken by the kernel.
    unsent: Vec<u8>,
    /// The call that is being answered.
    current: Option<Current>,
    /// It will say nothing more.
    said_all: bool,
    /// Nothing can be said to it, or is worth it.
    lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Current {
    id: CallId,
    more: bool,
    oneway: bool,
    /// Set once the supervisor has the call.
    awaits: Option<Awaited>,
}

/// A client, as the next program in this process gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedConnection {
    stream: RawFd,
    heard: Vec<u8>,
    unsent: Vec<u8>,
    current: Option<Current>,
    said_all: bool,
}

impl Connection {
    /// The stream does not block.
    pub(super) fn new(stream: UnixStream) -> Connection {
        Connection {
            stream,
            heard: Vec::new(),
            unsent: Vec::new(),
            current: None,
            said_all: false,
            lost: false,
        }
    }

    pub(super) fn save(&self, fds: &mut FdSet) -> SavedConnection {
        SavedConnection {
            stream: fds.keep(&self.stream),
            heard: self.heard.clone(),
            unsent: self.unsent.clone(),
            current: self.current,
            said_all: self.said_all,
        }
    }

    pub(super) fn resume(saved: SavedConnection) -> io::Result<Connection> {
        Ok(Connection {
            stream: sys::fd::adopt(saved.stream)?.into(),
            heard: saved.heard,
            unsent: saved.unsent,
            current: saved.current,
            said_all: saved.said_all,
            lost: false,
        })
    }

    /// The events to poll(2) for. The next call is read when the one before is answered.
    pub(super) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        if self.current.is_none() && !self.said_all {
            interest |= PollFlags::POLLIN;
        }
        if !self.unsent.is_empty() {
            interest |= PollFlags::POLLOUT;
        }
        interest
    }

    pub(super) fn has_news(&mut self, flags: PollFlags) {
        if flags.contains(PollFlags::POLLIN) {
            self.listen();
        }
        if flags.contains(PollFlags::POLLOUT) {
            self.flush();
        }
        // It has gone, and what it may have said before has been read.
        let gone = flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        self.lost |= gone && !flags.contains(PollFlags::POLLIN);
    }

    /// Once a turn, however much there is.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.said_all = true,
            Ok(read) => self.heard.extend(buffer.iter().take(read)),
            Err(e) if would_block(&e) => {}
            Err(_) => self.lost = true,
        }
        self.lost |= self.heard.len() > LONGEST;
    }

    /// The call that is being answered.
    pub(super) fn call(&self) -> Option<CallId> {
        self.current.map(|current| current.id)
    }

    /// The supervisor has got the call, and answers it when this has happened.
    pub(super) fn awaits(&mut self, awaited: Option<Awaited>) {
        if let Some(current) = &mut self.current {
            current.awaits = awaited;
        }
    }

    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.current.and_then(|current| current.awaits)
    }

    pub(super) fn wants_more(&self) -> bool {
        // Steps that a slow reader misses are none that it needs.
        self.current.is_some_and(|call| call.more && !call.oneway) && self.unsent.is_empty()
    }

    /// Whether a complete call is waiting.
    pub(super) fn has_call(&self) -> bool {
        self.current.is_none() && self.heard.contains(&0)
    }

    /// A whole message, if none is being answered.
    pub(super) fn next_call(&mut self) -> Option<Call> {
        if self.current.is_some() || self.lost {
            return None;
        }
        let end = self.heard.iter().position(|byte| *byte == 0)?;
        let mut message: Vec<u8> = self.heard.drain(..=end).collect();
        message.pop();
        let call = Call::parse(&message);
        self.lost |= call.is_none();
        call
    }

    /// Answers a call that needs no supervisor. Returns the method for the supervisor otherwise, under this number.
    pub(super) fn take(&mut self, id: CallId, call: &Call) -> Option<Method> {
        self.current = Some(Current {
            id,
            more: call.more,
            oneway: call.oneway,
            awaits: None,
        });
        match call.meaning() {
            Meaning::Method(method) => return Some(method),
            Meaning::Reply(parameters) => self.finish(&varlink::reply(parameters, false)),
            Meaning::Error(name, parameters) => self.finish(&varlink::error(&name, &parameters)),
        }
        None
    }

    /// Sends the last reply to the current call.
    pub(super) fn finish(&mut self, message: &[u8]) {
        if self.current.take().is_some_and(|call| !call.oneway) {
            self.send(message);
        }
    }

    pub(super) fn send(&mut self, message: &[u8]) {
        self.lost |= self.unsent.len() > LONGEST;
        self.unsent.extend_from_slice(message);
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.lost {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(e) if would_block(&e) => return,
                Err(_) => self.lost = true,
            }
        }
    }

    /// How much it has said that is no message yet, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn waiting(&self) -> usize {
        self.heard.len()
    }

    /// Whether it has nothing to be answered and nothing to read.
    pub(super) fn wants_nothing(&self) -> bool {
        self.current.is_none() && !self.has_call() && self.unsent.is_empty()
    }

    /// Whether there is nothing left to do for it.
    pub(super) fn is_over(&self) -> bool {
        let silent = self.said_all && self.wants_nothing();
        self.lost || silent
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
