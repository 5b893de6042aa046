//! The control socket, `--control`, and its clients. The server never waits for a client: one that is slow,
//! silent or sends nonsense loses its connection and delays no other.

mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod reopen;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::protocol::{Awaited, Failure, Method};
use super::varlink;
use crate::error::{DisplayIoError, Error, why};
use crate::files::RemovalWatch;
use crate::machine::{RequestId, Time};
use crate::sockets::{PathAccess, SocketFile, UnixPath, bind_path};
use crate::sys;
use crate::sys::reexec::FdSet;
use connection::{Connection, SavedConnection};
use reopen::Retry;

/// One call of one client; the machine knows a reload by it. Never used twice.
pub(crate) type CallId = RequestId;

/// The most clients that are served at the same time.
const MAX_CLIENTS: usize = 128;

/// The most clients that are accepted in one iteration.
const BATCH: usize = 32;

/// The pause before the next client is accepted after there was no room for one.
const PAUSE: Duration = Duration::from_secs(1);

/// The socket and its clients. The socket's file goes when this is dropped.
pub(crate) struct Server {
    listener: UnixListener,
    file: UnixPath,
    min_fd: RawFd,
    /// In the order in which they came.
    connections: Vec<Connection>,
    last_call: CallId,
    calls: VecDeque<(CallId, Method)>,
    /// Calls whose clients have disconnected before they were answered.
    disconnected: Vec<CallId>,
    /// No client is accepted before that.
    paused_until: Option<Time>,
    /// `None` if the file cannot be watched.
    removal: Option<RemovalWatch>,
    /// The file is gone and could not be made again yet.
    retry: Option<Retry>,
}

/// Socket and clients, as the next program in this process gets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedServer {
    listener: RawFd,
    file: SocketFile,
    connections: Vec<SavedConnection>,
    last_call: CallId,
    paused_until: Option<Time>,
}

impl Server {
    /// Listens at `path`, which only root and we ourselves may connect to. What is opened for this
    /// lives at descriptor `min_fd` or higher.
    pub(crate) fn open(path: &Path, min_fd: RawFd) -> Result<Server, Error> {
        let (listener, file) = listen(path, min_fd)?;
        let mut server = Server {
            listener,
            file,
            min_fd,
            connections: Vec::new(),
            last_call: 0,
            calls: VecDeque::new(),
            disconnected: Vec::new(),
            paused_until: None,
            removal: RemovalWatch::new(),
            retry: None,
        };
        server.watch_file();
        Ok(server)
    }

    /// For the next program in this process. No call is lost.
    pub(crate) fn save(&self, fds: &mut FdSet) -> SavedServer {
        SavedServer {
            listener: fds.keep(&self.listener),
            file: self.file.save(),
            connections: self.connections.iter().map(|c| c.save(fds)).collect(),
            last_call: self.last_call,
            paused_until: self.paused_until,
        }
    }

    pub(crate) fn resume(saved: SavedServer, min_fd: RawFd) -> io::Result<Server> {
        let connections = saved.connections.into_iter().map(Connection::resume);
        let connections: io::Result<Vec<Connection>> = connections.collect();
        let mut server = Server {
            listener: sys::fd::adopt(saved.listener)?.into(),
            file: UnixPath::resume(saved.file),
            min_fd,
            connections: connections?,
            last_call: saved.last_call,
            calls: VecDeque::new(),
            disconnected: Vec::new(),
            paused_until: saved.paused_until,
            removal: RemovalWatch::new(),
            retry: None,
        };
        server.watch_file();
        Ok(server)
    }

    /// The descriptors to poll, and the events of poll(2) to poll them for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listens = match self.paused_until {
            None => PollFlags::POLLIN,
            Some(_) => PollFlags::empty(),
        };
        let listener = (self.listener.as_fd(), listens);
        let clients = self.connections.iter().map(|c| (c.as_fd(), c.interest()));
        let removal = self
            .removal
            .iter()
            .map(|watch| (watch.as_fd(), PollFlags::POLLIN));
        std::iter::once(listener).chain(removal).chain(clients)
    }

    /// When there is something to do without any news: at once, if a client has made several calls
    /// (each waits for its turn among the others'), or can be let go; or when clients are let in again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let unattended = |client: &Connection| client.is_over() || client.has_call();
        match self.connections.iter().any(unattended) {
            true => Some(Time::ZERO),
            false => {
                let retry = self.retry.as_ref().map(|retry| retry.at);
                self.paused_until.into_iter().chain(retry).min()
            }
        }
    }

    /// What poll(2) says of each of [`Server::fds`], in order.
    pub(crate) fn mark_ready(&mut self, mut news: impl Iterator<Item = PollFlags>, now: Time) {
        let arrivals = news.next().unwrap_or(PollFlags::empty());
        let removal = self.removal.as_ref().and_then(|_| news.next());
        self.notice_removal(removal.is_some_and(|flags| !flags.is_empty()), now);
        for (client, flags) in self.connections.iter_mut().zip(news) {
            client.has_news(flags);
        }
        self.attend();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if arrivals.contains(PollFlags::POLLIN) {
            self.accept_clients(now);
        }
    }

    /// The next call of a client.
    pub(crate) fn next_call(&mut self) -> Option<(CallId, Method)> {
        let (call, method) = self.calls.pop_front()?;
        if let Some(client) = self.client(call) {
            client.awaits(method.awaited());
        }
        Some((call, method))
    }

    /// The calls whose clients have disconnected before they were answered.
    pub(crate) fn take_disconnected(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.disconnected)
    }

    /// One of several replies, if the client has asked for several.
    pub(crate) fn progress(&mut self, call: CallId, parameters: &impl Serialize) {
        if let Some(client) = self.client(call).filter(|client| client.wants_more()) {
            client.send(&varlink::reply(parameters, true));
        }
    }

    /// The same for all clients that wait for this.
    pub(crate) fn progress_all(&mut self, awaited: Awaited, parameters: &impl Serialize) {
        let message = varlink::reply(parameters, true);
        for client in self.waiting(awaited).filter(|client| client.wants_more()) {
            client.send(&message);
        }
    }

    /// The last reply. The client may have gone.
    pub(crate) fn finish<T: Serialize>(&mut self, call: CallId, result: Result<&T, &Failure>) {
        let message = last_reply(result);
        if let Some(client) = self.client(call) {
            client.finish(&message);
        }
    }

    /// The last reply to all clients that wait for this.
    pub(crate) fn finish_all<T: Serialize>(
        &mut self,
        awaited: Awaited,
        result: Result<&T, &Failure>,
    ) {
        let message = last_reply(result);
        for client in self.waiting(awaited) {
            client.finish(&message);
        }
    }

    fn waiting(&mut self, awaited: Awaited) -> impl Iterator<Item = &mut Connection> {
        let connections = self.connections.iter_mut();
        connections.filter(move |client| client.awaited() == Some(awaited))
    }

    fn client(&mut self, call: CallId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.call() == Some(call))
    }

    /// Takes in a call of each client that has made one, and drops the clients that have disconnected or are to be
    /// disconnected.
    fn attend(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        connections.retain_mut(|client| self.attend_to(client));
        self.connections = connections;
    }

    /// Returns whether the client stays.
    fn attend_to(&mut self, client: &mut Connection) -> bool {
        if let Some(call) = client.next_call() {
            self.last_call += 1;
            if let Some(method) = client.take(self.last_call, &call) {
                self.calls.push_back((self.last_call, method));
            }
        }
        let over = client.is_over();
        self.disconnected.extend(client.call().filter(|_| over));
        !over
    }

    fn accept_clients(&mut self, now: Time) {
        for _ in 0..BATCH {
            match self.listener.accept() {
                Ok((client, _)) => self.accept(client),
                Err(e) if would_block(&e) => return,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                // Without a free descriptor accept(2) fails even if no client waits.
                Err(_) if !self.has_pending() => return,
                // An idle client makes room.
                Err(_) if self.evict_idle() => {}
                Err(e) => {
                    tracing::warn!("failed to accept a client: {}", DisplayIoError(&e));
                    self.paused_until = Some(now.saturating_add(PAUSE));
                    return;
                }
            }
        }
    }

    fn has_pending(&self) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }

    fn accept(&mut self, client: UnixStream) {
        let user = getsockopt(&client, sockopt::PeerCredentials).map(|peer| peer.uid());
        match user {
            Ok(user) if user == 0 || user == geteuid().as_raw() => {}
            Ok(user) => return tracing::warn!("turned away a client of another user, {user}"),
            Err(errno) => {
                let why = why(errno);
                return tracing::warn!("turned away a client whose user is unknown: {why}");
            }
        }
        let moved = client.set_nonblocking(true);
        let client = match moved.and_then(|()| sys::fd::move_above(client.into(), self.min_fd)) {
            Ok(client) => client,
            Err(e) => return tracing::warn!("failed to accept a client: {}", DisplayIoError(&e)),
        };
        if self.connections.len() >= MAX_CLIENTS && !self.evict_idle() {
            return tracing::warn!("turned away a client: {MAX_CLIENTS} are waiting for answers");
        }
        let mut client = Connection::new(client.into());
        // Most clients have sent their call before they are accepted.
        client.has_news(PollFlags::POLLIN);
        if self.attend_to(&mut client) {
            self.connections.push(client);
        }
    }

    /// Drops the first idle client; else the first whose answer is complete but not read.
    fn evict_idle(&mut self) -> bool {
        let first = |which: fn(&Connection) -> bool| self.connections.iter().position(which);
        let idle = first(Connection::wants_nothing).or_else(|| first(|c| c.call().is_none()));
        idle.map(|at| self.connections.remove(at)).is_some()
    }
}

fn listen(path: &Path, min_fd: RawFd) -> Result<(UnixListener, UnixPath), Error> {
    let access = PathAccess {
        mode: 0o600,
        ..PathAccess::default()
    };
    let (listener, file) = bind_path(path, &access, u32::MAX)?;
    let error = |action| {
        move |source| Error::Socket {
            action,
            address: path.display().to_string(),
            source,
        }
    };
    let listener = sys::fd::move_above(listener, min_fd).map_err(error("keep the socket of"))?;
    let listener = UnixListener::from(listener);
    let prepared = listener.set_nonblocking(true);
    prepared.map_err(error("prepare the socket of"))?;
    Ok((listener, file))
}

fn last_reply<T: Serialize>(result: Result<&T, &Failure>) -> Vec<u8> {
    match result {
        Ok(parameters) => varlink::reply(parameters, false),
        Err(failure) => failure.to_message(),
    }
}

/// The longest message of a client's, and what may lie before one for it, in bytes.
const LONGEST: usize = 64 * 1024;

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
