//! The commands' end of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, getsockopt, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;
use serde_json::{Map, Value};

use super::protocol::Failure;
use super::varlink::{self, Answer, Call};
use super::{Deadline, LONG};
use crate::error::{DisplayIoError, Error, why};
use crate::types::Pid;

/// A connection to a supervisor.
pub(super) struct Client {
    path: PathBuf,
    stream: UnixStream,
    heard: Vec<u8>,
    /// How much of that holds no end of a message.
    searched: usize,
    /// The call that was made last.
    call: Vec<u8>,
    /// How often it may be made again by another connection.
    retries: u32,
}

/// What comes next.
pub(super) enum Next {
    /// Results, and whether more follow.
    Results(Value, bool),
    Failure(Failure),
    /// Nothing, for as long as was asked.
    Nothing,
    /// Nothing any more: the supervisor has gone.
    End,
}

/// How often a call is made that gets no answer at all: a supervisor that is overrun hangs up.
const RETRIES: u32 = 10;

/// A longer reply is none, in bytes. A socket takes about a hundred, and so does a worker.
const LONGEST: usize = 16 << 20;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

impl Client {
    pub(super) fn connect(path: &Path, deadline: Deadline) -> Result<Client, Error> {
        Ok(Client {
            path: path.to_owned(),
            stream: connect(path, deadline)?,
            heard: Vec::new(),
            searched: 0,
            call: Vec::new(),
            retries: RETRIES,
        })
    }

    /// The supervisor's pid; `None` if it is in another pid namespace.
    pub(super) fn supervisor(&self) -> Option<Pid> {
        let peer = getsockopt(&self.stream, sockopt::PeerCredentials).ok()?;
        Some(peer.pid()).filter(|pid| *pid > 0)
    }

    /// Calls a method of ours.
    pub(super) fn call(
        &mut self,
        method: &str,
        parameters: Map<String, Value>,
        more: bool,
    ) -> Result<(), Error> {
        self.call = varlink::message(&Call::new(method, parameters, more));
        self.retries = RETRIES;
        self.make_call()
    }

    fn make_call(&mut self) -> Result<(), Error> {
        match self.stream.write_all(&self.call) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(self.unreachable(&e)),
            _ => Ok(()), // reading will see the end
        }
    }

    /// The next reply, within `timeout`.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Next, Error> {
        let deadline = Deadline::after(Some(timeout));
        loop {
            let unsearched = self.heard.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == 0) {
                let end = self.searched + end;
                self.searched = 0;
                let mut message: Vec<u8> = self.heard.drain(..=end).collect();
                message.pop();
                self.retries = 0;
                return self.understand(&message);
            }
            self.searched = self.heard.len();
            let Some(left) = deadline.slice(timeout) else {
                return Ok(Next::Nothing);
            };
            let timeout = self.stream.set_read_timeout(Some(left));
            timeout.map_err(|e| self.unreachable(&e))?;
            let mut buffer = [0; 4096];
            let read = match self.stream.read(&mut buffer) {
                // It has hung up without having read the call.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(0),
                read => read,
            };
            match read {
                Ok(0) if self.retries > 0 => {
                    self.retries -= 1;
                    std::thread::sleep(PAUSE);
                    if !self.reconnect(deadline)? {
                        return Ok(Next::End);
                    }
                    self.make_call()?;
                }
                Ok(0) => return Ok(Next::End),
                Ok(_) if self.heard.len() > LONGEST => {
                    let path = self.path.display();
                    let message = format!("what answers at {path} never ends");
                    return Err(Error::NotDone(message));
                }
                Ok(read) => self.heard.extend(buffer.iter().take(read)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Nothing),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unreachable(&e)),
            }
        }
    }

    /// Says whether that went well: what was asked of one supervisor is not for the one after it.
    fn reconnect(&mut self, deadline: Deadline) -> Result<bool, Error> {
        let before = self.supervisor();
        match connect(&self.path, deadline) {
            Ok(stream) => self.stream = stream,
            Err(Error::NotRunning(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.heard.clear();
        self.searched = 0;
        Ok(self.supervisor() == before)
    }

    fn understand(&self, message: &[u8]) -> Result<Next, Error> {
        let strange = |what: &str| {
            let path = self.path.display();
            Error::NotDone(format!("the supervisor at {path} {what}"))
        };
        match Answer::parse(message) {
            Some(Answer::Results(results, more)) => Ok(Next::Results(results, more)),
            Some(Answer::Failure(failure)) => Ok(Next::Failure(failure)),
            Some(Answer::Other(name)) => {
                Err(strange(&format!("is another release, it seems: {name}")))
            }
            None => Err(strange("speaks no Varlink")),
        }
    }

    /// The reply to a call that has one, and nothing to wait for.
    pub(super) fn ask(&mut self, method: &str, deadline: Deadline) -> Result<Next, Error> {
        self.call(method, Map::new(), false)?;
        loop {
            let Some(timeout) = deadline.slice(LONG) else {
                let path = self.path.display();
                let message = format!("the supervisor at {path} has not answered in time");
                return Err(Error::TimedOut(message));
            };
            match self.next(timeout)? {
                Next::Nothing => {}
                next => return Ok(next),
            }
        }
    }

    /// What was to come has not come.
    pub(super) fn gone(&self) -> Error {
        Error::NotRunning(format!(
            "the supervisor at {} has ended meanwhile",
            self.path.display()
        ))
    }

    fn unreachable(&self, e: &io::Error) -> Error {
        let path = self.path.display();
        Error::NotDone(format!(
            "cannot talk to the supervisor at {path}: {}",
            DisplayIoError(e)
        ))
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.file_type().is_socket())
}

/// Waits, for there may be no room in the queue of who listens; and then sees who that is.
fn connect(path: &Path, deadline: Deadline) -> Result<UnixStream, Error> {
    let shown = path.display();
    let stream = try_connect(path, deadline).map_err(|errno| match errno {
        Errno::ENOENT => Error::NotRunning(format!(
            "no supervisor is running at {shown}: no such socket"
        )),
        Errno::ECONNREFUSED if !is_socket(path) => Error::NotDone(format!(
            "{shown} is not a control socket, but something else"
        )),
        Errno::ECONNREFUSED => Error::NotRunning(format!(
            "no supervisor is running at {shown}: no process listens there"
        )),
        Errno::EACCES | Errno::EPERM => Error::NotDone(format!(
            "cannot talk to the supervisor at {shown}: this has to run as its user, or as root"
        )),
        Errno::EAGAIN => Error::TimedOut(format!("no answer at {shown} in time")),
        _ => Error::NotDone(format!("cannot connect to {shown}: {}", why(errno))),
    })?;
    // A supervisor lets in root and its own user. So anybody else is none that would listen to us.
    let us = geteuid();
    match getsockopt(&stream, sockopt::PeerCredentials) {
        Ok(peer) if us.is_root() || peer.uid() == 0 || peer.uid() == us.as_raw() => Ok(stream),
        Ok(peer) => Err(Error::NotDone(format!(
            "what listens at {shown} is no supervisor of ours: it is user {}'s",
            peer.uid()
        ))),
        Err(errno) => Err(Error::NotDone(format!(
            "cannot see who listens at {shown}: {}",
            why(errno)
        ))),
    }
}

fn try_connect(path: &Path, deadline: Deadline) -> nix::Result<UnixStream> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let timeout = deadline.slice(LONG).ok_or(Errno::EAGAIN)?;
    // It bounds connect(2), too, socket(7). Nothing would be no bound.
    let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    let timeout = TimeVal::milliseconds(millis.max(1));
    setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect_to(fd.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            connected => return connected.map(|()| fd.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_call_that_was_not_read_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            // To hang up with something unread is to reset, and to hang up after it is not.
            for unread in [true, false] {
                let (mut hung_up, _) = listener.accept().unwrap();
                let mut byte = [0];
                hung_up.read_exact(&mut byte).unwrap();
                while !unread && byte != [0] {
                    hung_up.read_exact(&mut byte).unwrap();
                }
            }
            let (mut answered, _) = listener.accept().unwrap();
            answered.write_all(b"{\"parameters\":{}}\0").unwrap();
        });
        let mut client = Client::connect(&path, Deadline::after(None)).unwrap();
        let answer = client.ask("Status", Deadline::after(None)).unwrap();
        assert!(matches!(answer, Next::Results(_, false)));
        server.join().unwrap();
    }
}
