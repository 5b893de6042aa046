//! The worker, which is this program: it answers each connection with its generation, its pid and the keys of its
//! sockets, and exits at TERM.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use server_starter_testing::WorkerSockets;
use server_starter_worker::{Stop, generation, notify};

pub(crate) fn run() -> Result<ExitCode, Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let sockets = WorkerSockets::take()?;
    let (generation, pid) = (generation().unwrap_or(0), std::process::id());
    let line = format!("{generation} {pid} {}\n", sockets.keys().join(" "));
    notify::ready()?;
    loop {
        sockets.wait(stop, None);
        if stop.requested() {
            return Ok(ExitCode::SUCCESS);
        }
        for mut client in sockets.accept() {
            let _ = client.write_all(line.as_bytes()); // it may have gone
        }
    }
}
