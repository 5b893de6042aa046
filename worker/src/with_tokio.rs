//! For servers on tokio.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::{io, thread};

use tokio::net;
use tokio::sync::oneshot;

use crate::stop::Stop;

/// From a socket of std to the one of tokio. Needs the feature `tokio`.
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
/// # What it does to the other generations
///
/// tokio wants `O_NONBLOCK`, so this sets it. That flag is on the open file description, which the
/// supervisor and all generations share: from then on `accept` does not block in any of them. To
/// programs on tokio, or on any other event loop, that is all the same. A generation that relies on
/// `accept` blocking gets `WouldBlock` instead: mind that when you change from a threaded server to
/// tokio, or back. `start_server` itself never sets or clears the flag.
pub trait IntoTokio {
    /// The type of tokio.
    type Tokio;

    /// Makes the socket non-blocking, and registers it with the runtime.
    ///
    /// # Errors
    ///
    /// Those of `fcntl(2)` and `epoll_ctl(2)`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled, as tokio's own `from_std`.
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
    /// Resolves when the process is told to stop. Needs the feature `tokio`.
    ///
    /// Wait for it in one place, and tell the rest of the program from there: every call in
    /// progress holds a descriptor. It may be dropped at any time: it loses nothing.
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
    /// Out of descriptors it waits in a thread. If there is none to be had either, it resolves at
    /// once: a process that is so short of everything had better drain.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub async fn stopped(self) {
        if self.requested() || self.event_readable().await.is_ok() {
            return;
        }
        let (told, wait) = oneshot::channel();
        let waiter = thread::Builder::new().spawn(move || {
            self.wait();
            let _ = told.send(()); // the future may be gone
        });
        if waiter.is_ok() {
            let _ = wait.await;
        }
    }

    async fn event_readable(self) -> io::Result<()> {
        // epoll(7) takes a descriptor of the same number only once: so each waits on its own.
        let event = self.event().try_clone()?.into_tokio()?;
        event.readable().await
    }
}
