//! The sockets by name: how to find the one you want.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::{slice, vec};

use crate::environment::{self, Entry};
use crate::error::{EntryError, Error};
use crate::listen_fds::ListenFds;
use crate::seqpacket::UnixSeqpacketListener;
use crate::socket::{Kind, Passes, Socket};
use crate::sys::claim::claim;

/// The sockets of this worker, in the order of `SERVER_STARTER_PORT`, or of their numbers when they
/// came by `LISTEN_FDS` alone. Made by [`listeners`](crate::listeners()) and
/// [`listeners_or_bind`](crate::listeners_or_bind).
///
/// The `take_…` methods hand sockets out one by one; iterating by value hands out all of them.
/// Dropping the rest closes them in this worker alone: the supervisor holds them still, so
/// clients go on queueing there for whoever accepts next.
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

/// One of the worker's sockets, and the names it goes by.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listener {
    /// The `--port` or `--path` as typed, without the `u` of UDP and without `=FD`: `8080`,
    /// `127.0.0.1:8080`, `[::1]:8080`, `/run/app.sock`. Bytes, not necessarily UTF-8; and not
    /// necessarily unique: TCP and UDP on one port share their key.
    ///
    /// A socket that came by `LISTEN_FDS` alone has the key that `start_server` would give it, made
    /// from its address: the port of IPv4's `0.0.0.0`, else `HOST:PORT`, `[V6]:PORT`, a path,
    /// `@abstract`; without an address its name, without a name its number.
    pub key: OsString,
    /// Its name in `LISTEN_FDNAMES`: the `FileDescriptorName=` of a `.socket` unit, or one that
    /// `start_server` made from the key. None if that is not set, or the name is empty.
    pub name: Option<OsString>,
    /// The socket itself.
    pub socket: Socket,
}

impl Listeners {
    /// Takes over what a `SERVER_STARTER_PORT` of this value names. What systemd counts as well may
    /// be anything, and has a name.
    pub(crate) fn take_over(value: &OsStr, passed: Option<&ListenFds>) -> Result<Self, Error> {
        let entries = environment::entries(value)?.into_iter();
        let all: Result<_, _> = entries
            .map(|entry| Listener::of_entry(entry, passed))
            .collect();
        Ok(Self { all: all? })
    }

    /// Takes over what `LISTEN_FDS` counts.
    pub(crate) fn take_over_passed(passed: &ListenFds) -> Result<Self, Error> {
        let mut all = Vec::new(); // grows with what is really there
        for fd in passed.fds() {
            let socket =
                Socket::claim(fd, Passes::Anything).map_err(|reason| Error::Descriptor {
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

    /// Binds the first of these addresses that can be bound.
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

    /// How many sockets there are (left).
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no socket (left).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The sockets in order.
    pub fn iter(&self) -> slice::Iter<'_, Listener> {
        self.all.iter()
    }

    /// The first socket of this key, to look at. The key is compared byte for byte: `"8080"` does
    /// not find a `--port=0.0.0.0:8080`, but [`take_port`](Self::take_port) does.
    ///
    /// ```no_run
    /// let sockets = server_starter_worker::listeners()?;
    /// if let Some(admin) = sockets.get("127.0.0.1:9000") {
    ///     println!("administered by a {}", admin.kind());
    /// }
    /// # Ok::<(), server_starter_worker::Error>(())
    /// ```
    pub fn get(&self, key: impl AsRef<OsStr>) -> Option<&Socket> {
        let key = key.as_ref();
        let mut all = self.all.iter();
        all.find(|listener| listener.key == key)
            .map(|listener| &listener.socket)
    }

    /// Takes the first socket of this key; called again, the next one of the same key.
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

    /// Takes the first socket bound to this port, TCP or UDP, on whatever address. The port is
    /// the one `getsockname(2)` tells, whatever the key says.
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

    /// Takes the first socket of this name, a `.socket` unit's `FileDescriptorName=`; called again,
    /// the next one of the same name: one unit may have several sockets.
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

    /// Takes the first TCP listener. All a server with one port needs:
    ///
    /// ```
    /// let listener = server_starter_worker::listeners_or_bind("127.0.0.1:0")?.take_tcp()?;
    /// # Ok::<(), server_starter_worker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is none (left).
    pub fn take_tcp(&mut self) -> Result<TcpListener, Error> {
        self.take_kind(Kind::Tcp)?.try_into()
    }

    /// Takes the first UDP socket.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is none (left).
    pub fn take_udp(&mut self) -> Result<UdpSocket, Error> {
        self.take_kind(Kind::Udp)?.try_into()
    }

    /// Takes the first unix stream listener.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is none (left).
    pub fn take_unix(&mut self) -> Result<UnixListener, Error> {
        self.take_kind(Kind::Unix)?.try_into()
    }

    /// Takes the first unix datagram socket.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is none (left).
    pub fn take_unix_datagram(&mut self) -> Result<UnixDatagram, Error> {
        self.take_kind(Kind::UnixDatagram)?.try_into()
    }

    /// Takes the first unix listener of sequential packets.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is none (left).
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
        let passed = passed.filter(|passed| passed.include(entry.fd));
        let passes = match passed {
            Some(_) => Passes::Anything,
            None => Passes::Sockets,
        };
        match Socket::claim(entry.fd, passes) {
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
    fn claim(fd: RawFd, passes: Passes) -> Result<Self, EntryError> {
        Self::of_its_kind(claim(fd)?, passes)
    }
}

#[cfg(test)]
mod tests;
