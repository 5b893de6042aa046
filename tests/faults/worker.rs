//! The worker: this very program. It tells everyone who connects which generation it is, its pid and
//! the sockets it has; at TERM it accepts no more, and ends.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use server_starter_worker::{Listener, Socket, Stop, generation, listeners, notify};

pub(crate) fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::say(&format!("worker: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let stop = Stop::on_signals()?;
    let mut all: Vec<Listener> = listeners()?.into_iter().collect();
    // Another generation may take what poll(2) has shown to both.
    for listener in &all {
        match &listener.socket {
            Socket::Tcp(tcp) => tcp.set_nonblocking(true)?,
            Socket::Unix(unix) => unix.set_nonblocking(true)?,
            _ => {}
        }
    }
    all.retain(|l| matches!(l.socket, Socket::Tcp(_) | Socket::Unix(_)));
    let keys: Vec<String> = all
        .iter()
        .map(|l| l.key.to_string_lossy().into_owned())
        .collect();
    let number = generation().unwrap_or(0);
    let line = format!("{number} {} {}\n", std::process::id(), keys.join(" "));
    notify::ready()?;
    loop {
        let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            all.iter()
                .map(|l| PollFd::new(l.socket.as_fd(), PollFlags::POLLIN)),
        );
        let _ = poll(&mut fds, PollTimeout::NONE); // EINTR: look again
        if stop.requested() {
            return Ok(());
        }
        for listener in &all {
            // Who has gone already needs no answer.
            match &listener.socket {
                Socket::Tcp(tcp) => {
                    drop(tcp.accept().map(|(mut c, _)| c.write_all(line.as_bytes())))
                }
                Socket::Unix(unix) => {
                    drop(unix.accept().map(|(mut c, _)| c.write_all(line.as_bytes())));
                }
                _ => {}
            }
        }
    }
}
