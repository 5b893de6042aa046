//! A small HTTP/1.1 server on tokio and hyper that loses no request when it is replaced.
//!
//! ```console
//! $ cargo run --features tokio --example hyper                     # alone: on 127.0.0.1:8080
//! $ start_server --port=8080 -- target/debug/examples/hyper        # under start_server
//! ```
//!
//! When a stop is requested, it stops accepting at once: the next generation accepts the connections
//! in the queue. It answers every request with `Connection: close`. hyper's graceful shutdown comes
//! last, because it closes idle connections, and connections on which nothing has been read yet. If
//! it came first, requests on their way to the server would be lost.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use server_starter_worker::{IntoTokio, Stop, generation, listeners_or_bind, notify};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a client may still use an idle connection while the server drains.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let listener = listeners_or_bind("127.0.0.1:8080")?.take_tcp()?;
    let listener = listener.into_tokio()?;
    eprintln!("hyper: on {}", listener.local_addr()?);
    notify::ready()?;

    // Each connection holds a receiver: the channel is closed when no connection is left.
    let (last_call, _) = watch::channel(());
    let mut stopped = pin!(stop.stopped());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    tokio::spawn(serve(connection, stop, last_call.subscribe()));
                }
                Err(error) => {
                    // For instance the limit on open files: the connection waits in the queue.
                    eprintln!("hyper: cannot accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    if let Err(error) = notify::stopping() {
        eprintln!("hyper: {error}"); // no reason not to drain
    }
    let _ = timeout(GRACE, last_call.closed()).await;
    last_call.send_replace(());
    last_call.closed().await;
    Ok(())
}

async fn serve(connection: TcpStream, stop: Stop, mut last_call: watch::Receiver<()>) {
    let service = service_fn(move |request| answer(request, stop));
    let mut http = http1::Builder::new();
    // With a timer, a client must send the head of a request within 30 seconds.
    let connection = http
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    // Errors are ignored: the client has disconnected.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = last_call.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(_: Request<Incoming>, stop: Stop) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = format!(
        "hello from generation {}, pid {}\n",
        generation().unwrap_or(0),
        std::process::id()
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    // Checked as late as possible.
    if stop.requested() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}
