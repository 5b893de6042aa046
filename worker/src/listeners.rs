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
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

    const LOCALHOST: &str = "127.0.0.1:0";

    /// Leaves a descriptor open as a supervisor does for its worker: without an owner, and not
    /// close-on-exec.
    fn hand_over(fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        fd.into_raw_fd()
    }

    fn take_over(value: impl AsRef<OsStr>) -> Result<Listeners, Error> {
        Listeners::take_over(value.as_ref(), None)
    }

    fn refused(value: impl AsRef<OsStr>) -> String {
        take_over(value).expect_err("an error").to_string()
    }

    #[test]
    fn they_come_in_the_order_of_the_variable() {
        let tcp = hand_over(TcpListener::bind(LOCALHOST).unwrap());
        let udp = hand_over(UdpSocket::bind(LOCALHOST).unwrap());
        let listeners = take_over(format!("b={udp};a={tcp}")).unwrap();

        let names: Vec<_> = (&listeners)
            .into_iter()
            .map(|listener| &listener.key)
            .collect();
        assert_eq!(names, ["b", "a"]);
        assert!(matches!(
            listeners.iter().as_slice()[0].socket,
            Socket::Udp(_)
        ));
        let names: Vec<_> = listeners.into_iter().map(|listener| listener.key).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn descriptors_become_close_on_exec_and_stay_blocking() {
        let fd = hand_over(TcpListener::bind(LOCALHOST).unwrap());
        let listener = take_over(format!("8080={fd}")).unwrap().take_tcp().unwrap();

        assert_eq!(listener.as_raw_fd(), fd);
        let flags = fcntl(&listener, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        let status = fcntl(&listener, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(status).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn sockets_are_found_by_key_and_by_port() {
        let tcp = TcpListener::bind(LOCALHOST).unwrap();
        let address = tcp.local_addr().unwrap();
        // One port, one key, two sockets.
        let udp = UdpSocket::bind(address).unwrap();
        let (tcp, udp) = (hand_over(tcp), hand_over(udp));
        let mut listeners = take_over(format!("{address}={tcp};{address}={udp}")).unwrap();

        let key = address.to_string();
        assert!(matches!(listeners.get(&key), Some(Socket::Tcp(_))));
        assert!(listeners.get("8080").is_none());
        assert!(matches!(listeners.take(&key), Some(Socket::Tcp(_))));
        assert!(matches!(listeners.take(&key), Some(Socket::Udp(_))));
        assert!(listeners.take(&key).is_none());

        let other = hand_over(TcpListener::bind(LOCALHOST).unwrap());
        let mut listeners = take_over(format!("key={other}")).unwrap();
        let port = listeners.get("key").and_then(Socket::port).unwrap();
        assert!(listeners.take_port(1).is_none());
        let found = listeners.take_port(port).unwrap();
        assert_eq!(found.as_fd().as_raw_fd(), other);
        assert!(listeners.is_empty());
    }

    #[test]
    fn the_first_of_a_kind() {
        let udp = hand_over(UdpSocket::bind(LOCALHOST).unwrap());
        let first = hand_over(TcpListener::bind(LOCALHOST).unwrap());
        let second = hand_over(TcpListener::bind(LOCALHOST).unwrap());
        let value = format!("a={udp};b={first};c={second}");
        let mut listeners = take_over(value).unwrap();

        assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), first);
        assert_eq!(listeners.take_tcp().unwrap().as_raw_fd(), second);
        let error = listeners.take_tcp().unwrap_err();
        assert!(error.to_string().contains("no TCP listener"), "{error}");
        let error = listeners.take_unix().unwrap_err();
        assert!(error.to_string().contains("no unix stream"), "{error}");
        assert_eq!(listeners.len(), 1);
    }

    #[test]
    fn what_is_no_socket_is_refused_and_left_open() {
        let fd = hand_over(File::open("/dev/null").unwrap());
        let message = refused(format!("8080={fd}"));
        assert_eq!(
            message,
            format!(r#"SERVER_STARTER_PORT: entry "8080={fd}": the descriptor is not a socket"#)
        );
        assert!(std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists());
    }

    #[test]
    fn a_socket_of_our_own_is_refused() {
        let ours = TcpListener::bind(LOCALHOST).unwrap();
        let message = refused(format!("8080={}", ours.as_raw_fd()));
        assert!(
            message.contains("opened by this process itself"),
            "{message}"
        );
        assert!(ours.local_addr().is_ok(), "still ours, still open");
    }
}
