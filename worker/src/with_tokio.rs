//! Sockets and `Stop` for tokio.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::{io, thread};

use tokio::net;
use tokio::sync::oneshot;

use crate::stop::Stop;

/// Converts a socket of std to the type of tokio. Needs the feature `tokio`.
///
/// ```
/// use server_starter_worker::{IntoTokio, listeners_or_bind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener: tokio::net::TcpListener =
///     listeners_or_bind("127.0.0.1:0")?.take_tcp()?.into_tokio()?;
/// # Ok(())
/// # }
/// ```
///
/// # Effect on other generations
///
/// tokio needs `O_NONBLOCK`, so the conversion sets it. The flag belongs to the open file description
/// (`open(2)`), which the supervisor and all generations share: from then on `accept` blocks in none
/// of them. Programs on tokio or another event loop do not notice. A generation that relies on a
/// blocking `accept` gets `WouldBlock`: prepare for that when you change from a threaded server to
/// tokio, or back. `start_server` itself never sets or clears the flag.
pub trait IntoTokio {
    /// tokio's type for this kind of socket.
    type Tokio;

    /// Makes the socket non-blocking, and registers it with the runtime.
    ///
    /// # Errors
    ///
    /// Those of `fcntl(2)` and `epoll_ctl(2)`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled, as tokio's `from_std`.
    fn into_tokio(self) -> io::Result<Self::Tokio>;
}

macro_rules! into_tokio {
    ($($std:ty => $tokio:ty),* $(,)?) => {$(
        impl IntoTokio for $std {
            type Tokio = $tokio;

            fn into_tokio(self) -> io::Result<$tokio> {
                self.set_nonblocking(true)?;
                <$tokio>::from_std(self)
            }
        }
    )*};
}

into_tokio! {
    TcpListener => net::TcpListener,
    UdpSocket => net::UdpSocket,
    UnixListener => net::UnixListener,
    UnixStream => net::UnixStream,
    UnixDatagram => net::UnixDatagram,
}

impl Stop {
    /// Resolves when a stop is requested. Needs the feature `tokio`.
    ///
    /// Await it in one place, and notify the rest of the program from there: each pending call holds
    /// a descriptor. It is cancel safe.
    ///
    /// ```
    /// use server_starter_worker::Stop;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let stop = Stop::on_signals()?;
    /// # stop.request();
    /// stop.stopped().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If the limit on open files is reached, it waits in a thread. If no thread can be started
    /// either, it resolves at once: a process so short of resources should drain.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn stopped(self) {
        if self.requested() || self.event_readable().await.is_ok() {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        let waiter = thread::Builder::new().spawn(move || {
            self.wait();
            let _ = sender.send(()); // fails if the future was dropped
        });
        if waiter.is_ok() {
            let _ = receiver.await;
        }
    }

    async fn event_readable(self) -> io::Result<()> {
        // epoll(7) accepts each descriptor once, so each call waits on a duplicate.
        let event = self.event().try_clone()?.into_tokio()?;
        event.readable().await
    }
}
