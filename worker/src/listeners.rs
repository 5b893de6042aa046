//! The sockets of the worker, and the methods that find one by key, port, name or kind.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::{slice, vec};

use crate::environment::{self, Entry};
use crate::error::{EntryError, Error};
use crate::kind::Kind;
use crate::listen_fds::ListenFds;
use crate::seqpacket::UnixSeqpacketListener;
use crate::socket::{Accepts, Socket};
use crate::sys::claim::claim;

/// The sockets of this worker, in the order of `SERVER_STARTER_PORT`, or in the order of their
/// descriptors if they come from `LISTEN_FDS` alone. Returned by
/// [`listeners`](crate::listeners()) and [`listeners_or_bind`](crate::listeners_or_bind).
///
/// The `take_…` methods return sockets one by one; iterating by value returns all of them. Dropping
/// the rest closes them in this worker alone. The supervisor still holds them, so connections to
/// them still queue until another generation accepts them.
///
/// ```
/// let mut sockets = server_starter_worker::listeners_or_bind("127.0.0.1:0")?;
/// let web = sockets.take_tcp()?;
/// for socket in &sockets {
///     eprintln!("nothing to serve on {:?}", socket.key);
/// }
/// # Ok::<(), server_starter_worker::Error>(())
/// ```
#[derive(Debug)]
pub struct Listeners {
    all: Vec<Listener>,
}

/// One of the worker's sockets, with its key and its name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listener {
    /// The `--port` or `--path` as typed, without the `u` of UDP and without `=FD`: `8080`,
    /// `127.0.0.1:8080`, `[::1]:8080`, `/run/app.sock`. Any bytes, not only UTF-8. Not unique: TCP
    /// and UDP on one port have the same key.
    ///
    /// A socket from `LISTEN_FDS` alone has the key that `start_server` would make from its address:
    /// `PORT` for IPv4's `0.0.0.0`, else `HOST:PORT`, `[V6]:PORT`, a path, or `@abstract`. Without an
    /// address, the key is the name; without a name, the descriptor's number.
    pub key: OsString,
    /// The name in `LISTEN_FDNAMES`: the `FileDescriptorName=` of a `.socket` unit, or the name that
    /// `start_server` made from the key. `None` if the variable is not set, or the name is empty.
    pub name: Option<OsString>,
    /// The socket.
    pub socket: Socket,
}

impl Listeners {
    /// Takes the sockets that this value of `SERVER_STARTER_PORT` lists. A descriptor that
    /// `LISTEN_FDS` passes as well has a name, and may be something other than a socket.
    pub(crate) fn from_server_starter_port(
        value: &OsStr,
        passed: Option<&ListenFds>,
    ) -> Result<Self, Error> {
        let entries = environment::entries(value)?.into_iter();
        let all: Result<_, _> = entries
            .map(|entry| Listener::of_entry(entry, passed))
            .collect();
        Ok(Self { all: all? })
    }

    /// Takes the descriptors that `LISTEN_FDS` passes.
    pub(crate) fn from_listen_fds(passed: &ListenFds) -> Result<Self, Error> {
        let mut all = Vec::new(); // no capacity: the count may be far more than are open
        for fd in passed.fds() {
            let socket =
                Socket::claim(fd, Accepts::AnyDescriptor).map_err(|reason| Error::Descriptor {
                    listen_fds: passed.count,
                    fd,
                    reason,
                })?;
            let name = passed.name(fd);
            let key = socket.key().or_else(|| name.clone());
            let key = key.unwrap_or_else(|| fd.to_string().into());
            all.push(Listener { key, name, socket });
        }
        Ok(Self { all })
    }

    /// Binds a TCP listener to the first of these addresses that can be bound.
    pub(crate) fn bind(address: impl ToSocketAddrs + Debug) -> Result<Self, Error> {
        let socket = TcpListener::bind(&address).map_err(|error| Error::Bind {
            address: format!("{address:?}"),
            error,
        })?;
        let socket = Socket::Tcp(socket);
        let listener = Listener {
            key: socket.key().unwrap_or_default(),
            name: None,
            socket,
        };
        Ok(Self {
            all: vec![listener],
        })
    }

    /// The number of sockets that are not taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether all sockets are taken, or none were passed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Iterates over the sockets that are not taken yet, in order.
    pub fn iter(&self) -> slice::Iter<'_, Listener> {
        self.all.iter()
    }

    /// Returns the first socket with this key, and leaves it in the list. `None` if there is no such
    /// socket. The key is compared byte for byte: `"8080"` does not find `--port=0.0.0.0:8080`, but
    /// [`take_port`](Self::take_port) does.
    ///
    /// ```no_run
    /// let sockets = server_starter_worker::listeners()?;
    /// if let Some(admin) = sockets.get("127.0.0.1:9000") {
    ///     println!("administration on a {}", admin.kind());
    /// }
    /// # Ok::<(), server_starter_worker::Error>(())
    /// ```
    pub fn get(&self, key: impl AsRef<OsStr>) -> Option<&Socket> {
        let key = key.as_ref();
        let mut all = self.all.iter();
        all.find(|listener| listener.key == key)
            .map(|listener| &listener.socket)
    }

    /// Takes the first socket with this key; the next call takes the next socket with the same key.
    /// `None` if there is no such socket.
    ///
    /// ```no_run
    /// use server_starter_worker::{Error, Kind, listeners};
    /// use std::os::unix::net::UnixListener;
    ///
    /// let socket = listeners()?.take("/run/app.sock");
    /// let socket: UnixListener = socket.ok_or(Error::Missing(Kind::Unix))?.try_into()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn take(&mut self, key: impl AsRef<OsStr>) -> Option<Socket> {
        let key = key.as_ref();
        self.take_first(|listener| listener.key == key)
    }

    /// Takes the first socket bound to this port, TCP or UDP, on any address. The port is the one
    /// of `getsockname(2)`; the key is not considered. `None` if there is no such socket.
    ///
    /// ```no_run
    /// use server_starter_worker::{Error, Kind, Socket, listeners};
    ///
    /// match listeners()?.take_port(443) {
    ///     Some(Socket::Tcp(https)) => println!("{https:?}"),
    ///     Some(other) => println!("not on a {}", other.kind()),
    ///     None => println!("no HTTPS"),
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn take_port(&mut self, port: u16) -> Option<Socket> {
        self.take_first(|listener| listener.socket.port() == Some(port))
    }

    /// Takes the first socket with this name, the `FileDescriptorName=` of a `.socket` unit; the next
    /// call takes the next socket with the same name: one unit may have several sockets. `None` if
    /// there is no such socket.
    ///
    /// ```no_run
    /// use server_starter_worker::{Error, Kind, listeners};
    ///
    /// let admin = listeners()?.take_name("admin").ok_or(Error::Missing(Kind::Tcp))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn take_name(&mut self, name: impl AsRef<OsStr>) -> Option<Socket> {
        let name = name.as_ref();
        self.take_first(|listener| listener.name.as_deref() == Some(name))
    }

    /// Takes the first TCP listener. A server with one port needs no other method.
    ///
    /// ```
    /// let listener = server_starter_worker::listeners_or_bind("127.0.0.1:0")?.take_tcp()?;
    /// # Ok::<(), server_starter_worker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if none was passed, or all of them are taken.
    pub fn take_tcp(&mut self) -> Result<TcpListener, Error> {
        self.take_kind(Kind::Tcp)?.try_into()
    }

    /// Takes the first UDP socket.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if none was passed, or all of them are taken.
    pub fn take_udp(&mut self) -> Result<UdpSocket, Error> {
        self.take_kind(Kind::Udp)?.try_into()
    }

    /// Takes the first unix stream listener.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if none was passed, or all of them are taken.
    pub fn take_unix(&mut self) -> Result<UnixListener, Error> {
        self.take_kind(Kind::Unix)?.try_into()
    }

    /// Takes the first unix datagram socket.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if none was passed, or all of them are taken.
    pub fn take_unix_datagram(&mut self) -> Result<UnixDatagram, Error> {
        self.take_kind(Kind::UnixDatagram)?.try_into()
    }

    /// Takes the first unix listener for sequential packets (`SOCK_SEQPACKET`).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if none was passed, or all of them are taken.
    pub fn take_unix_seqpacket(&mut self) -> Result<UnixSeqpacketListener, Error> {
        self.take_kind(Kind::UnixSeqpacket)?.try_into()
    }

    fn take_kind(&mut self, kind: Kind) -> Result<Socket, Error> {
        self.take_first(|listener| listener.socket.kind() == kind)
            .ok_or(Error::Missing(kind))
    }

    fn take_first(&mut self, wanted: impl FnMut(&Listener) -> bool) -> Option<Socket> {
        let index = self.all.iter().position(wanted)?;
        Some(self.all.remove(index).socket)
    }
}

impl IntoIterator for Listeners {
    type Item = Listener;
    type IntoIter = vec::IntoIter<Listener>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl<'a> IntoIterator for &'a Listeners {
    type Item = &'a Listener;
    type IntoIter = slice::Iter<'a, Listener>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Listener {
    fn of_entry(entry: Entry, passed: Option<&ListenFds>) -> Result<Self, Error> {
        let passed = passed.filter(|passed| passed.contains(entry.fd));
        let accepts = match passed {
            Some(_) => Accepts::AnyDescriptor,
            None => Accepts::Sockets,
        };
        match Socket::claim(entry.fd, accepts) {
            Ok(socket) => Ok(Self {
                key: entry.key,
                name: passed.and_then(|passed| passed.name(entry.fd)),
                socket,
            }),
            Err(reason) => Err(entry.error(reason)),
        }
    }
}

impl Socket {
    fn claim(fd: RawFd, accepts: Accepts) -> Result<Self, EntryError> {
        Self::from_fd(claim(fd)?, accepts)
    }
}

#[cfg(test)]
mod tests;
