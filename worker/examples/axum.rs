//! A small HTTP/1.1 server on axum that loses no request when it is replaced.
//!
//! ```console
//! $ cargo run --features tokio --example axum                      # alone: on 127.0.0.1:8080
//! $ start_server --port=8080 -- target/debug/examples/axum         # under start_server
//! ```
//!
//! When a stop is requested, it stops accepting at once: the next generation accepts the connections
//! in the queue. It answers every request with `Connection: close`. axum's graceful shutdown comes
//! last, because it closes idle connections, and connections on which nothing has been read yet. If
//! it came first, requests on their way to the server would be lost.

use std::error::Error;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use server_starter_worker::{IntoTokio, Stop, generation, listeners_or_bind, notify};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a client may still use an idle connection while the server drains.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
    let listener = listener.into_tokio()?;
    eprintln!("axum: on {}", listener.local_addr()?);

    let app = Router::new()
        .route("/", get(hello))
        .route("/slow", get(slow))
        .layer(map_response(move |response| closing(response, stop)));
    notify::ready()?;

    let (open, any_open) = watch::channel(());
    let listener = UntilStopped {
        listener,
        stopped: Box::pin(stop.stopped()),
        any_open,
    };
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<Client>(),
    )
    .with_graceful_shutdown(async move {
        stop.stopped().await;
        if let Err(error) = notify::stopping() {
            eprintln!("axum: {error}"); // no reason not to drain
        }
        let _ = timeout(GRACE, open.closed()).await;
    })
    .await?;
    Ok(())
}

async fn hello() -> String {
    let generation = generation().unwrap_or(0);
    format!(
        "hello from generation {generation}, pid {}\n",
        std::process::id()
    )
}

/// A slow request: restart the server while it runs.
async fn slow() -> String {
    sleep(Duration::from_millis(300)).await;
    hello().await
}

/// Adds `Connection: close` while the server drains. It runs after the handler, so as late as
/// possible.
async fn closing(mut response: Response, stop: Stop) -> Response {
    if stop.requested() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Accepts until a stop is requested. axum then goes on serving the open connections.
struct UntilStopped {
    listener: TcpListener,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Each connection holds a clone.
    any_open: watch::Receiver<()>,
}

impl Listener for UntilStopped {
    type Io = TcpStream;
    type Addr = Client;

    async fn accept(&mut self) -> (TcpStream, Client) {
        tokio::select! {
            biased;
            () = &mut self.stopped => pending().await,
            // axum's `accept` waits if the limit on open files is reached.
            (connection, address) = Listener::accept(&mut self.listener) => {
                (connection, self.client(address))
            }
        }
    }

    fn local_addr(&self) -> io::Result<Client> {
        Ok(self.client(self.listener.local_addr()?))
    }
}

impl UntilStopped {
    fn client(&self, address: SocketAddr) -> Client {
        Client {
            _address: address,
            _open: self.any_open.clone(),
        }
    }
}

/// The client of a connection. axum keeps it as long as the connection is open.
#[derive(Clone, Debug)]
struct Client {
    _address: SocketAddr,
    _open: watch::Receiver<()>,
}

impl Connected<IncomingStream<'_, UntilStopped>> for Client {
    fn connect_info(stream: IncomingStream<'_, UntilStopped>) -> Self {
        stream.remote_addr().clone()
    }
}
