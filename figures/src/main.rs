//! What `start_server` costs, side by side with Perl's and with the least any such program can cost.
//!
//! ```text
//! figures/run --output docs/figures   the full run, some minutes; writes the page with its pictures
//! figures/run                            the same, but only prints the tables
//! figures/run --quick                 few rounds, under 30 s: is it still in the right region?
//! figures/run --only load             one part: start, ports, load, control-clients, reloads, draining
//! figures/run --start-server /path/to/another/start_server
//! ```
//!
//! # Who is compared
//!
//! - **floor**: bind, listen, fork, exec, wait, and nothing else ([`workers::floor`]). It cannot reload.
//! - **ours**: the `start_server` cargo has just built, or the one `--ours PATH` names.
//! - **Perl**: `/usr/bin/start_server`, when that is the Perl one; left out with a word otherwise.
//! - **ours, static**: `--static PATH`, the program of `packaging/build static`; in the part `start`.
//! - every `--start-server PATH`, under its path.
//!
//! All of them run the same worker: this very binary, started again with another first argument ([`workers`]).
//! Mostly it accepts on its first socket and answers each connection at once with one line. So whatever
//! differs between two rows is the supervisor's doing, and the floor's row holds what the worker and the
//! client cost.
//!
//! # What is measured
//!
//! Each file in `measure/` is a part of the report, and says with it how its figures were taken.
//!
//! | part | what |
//! |---|---|
//! | `start` | with one port: cold start, reload, memory, wake-ups |
//! | `ports` | cold start and reload by number of ports, up to 10,000 |
//! | `load` | what clients of a server notice of reloads: latency over time, throughput, failures |
//! | `control-clients` | reloads beside many clients of the control socket, which ours alone has |
//! | `reloads` | time, memory and descriptors over 10,000 reloads |
//! | `draining` | the same with up to 1,000 generations that drain |
//!
//! | figure of `start` | from | to |
//! |---|---|---|
//! | cold start | just before the supervisor is spawned | the worker's answer is read |
//! | reload, old worker gone | just before HUP is sent | the old worker's end: the kernel closes a connection it held |
//! | reload, new worker answers | just before HUP is sent | the new worker's answer is read, on a connection made after the old one's end |
//! | reload when the new worker is ready | just before HUP is sent, with `--ready=notify` where there is such a thing, else with the default interval | the old worker's end |
//! | from READY=1 | just before the new worker says it | the old worker's end |
//! | memory | | `VmRSS` and `Pss` of the supervisor, after one reload, at rest |
//! | wake-ups | | context switches of all threads of the supervisor over 5 s at rest |
//!
//! A cold start runs with the candidate's default options, reloads with the `--interval` in their row. At
//! interval 0 a worker counts as ready as soon as it is forked, so the old one's end does not wait for the
//! new one's exec; the new worker's answer shows the whole turn.
//!
//! # How
//!
//! - Candidates take turns (A B C A B C …), so that a busy spell of the machine hits them all alike. A round
//!   that is not counted comes first. Only medians are compared; minimum and maximum show the noise.
//! - The client connects in a tight loop until it is let in, so it keeps one core busy: on a machine with one
//!   core, cold starts come out too long, for every candidate.
//! - Before every HUP the supervisor has been at rest for a moment, and the interval has passed; not in `load`
//!   and `reloads`, where one reload follows the other.
//! - Candidates see a bare environment (`PATH` and `TMPDIR`): cargo's own, `LD_LIBRARY_PATH` among it, would
//!   slow every exec.
//! - Wake-ups that come less often than every 5 s are not seen.
//! - For memory and wake-ups all candidates are up at once. Pages shared with other processes are divided
//!   among them in `Pss`; `VmRSS` counts them in full.
//! - Every answer is checked: token, generation, worker, number of sockets, key. A wrong one, or a candidate
//!   that does not stop as asked, ends the run with status 1. No figure is too bad to pass: this is a
//!   measurement, not a test. One is no figure, though: a request that fails under load with ours, too, ends the
//!   run with status 1.
//! - Others start with enough descriptors for 10,000 ports; ours starts with the usual 1,024 ([`limits`]).
//!
//! Everything happens on one address of the loopback network that is this run's own, so nothing else can be
//! met there; but for the many ports, whose names would be too long with an address before them. Whatever was started is gone at the end, however the run ends (see [`reaper`]); a candidate that
//! leaves a process or a file behind makes it end with status 1, too.

mod answer;
mod candidate;
mod limits;
mod load;
mod measure;
mod options;
mod plot;
mod ports;
mod proc;
mod reaper;
mod report;
mod running;
mod session;
mod workers;

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = args_os().skip(1).peekable();
    // The roles come first: the time a worker takes to get here is in every figure.
    match arguments.peek().and_then(|first| first.to_str()) {
        Some("--worker") => workers::worker(arguments.skip(1)),
        Some("--serves") => workers::serves(arguments.skip(1)),
        Some("--drains") => workers::drains(arguments.skip(1)),
        Some("--floor") => workers::floor(arguments.skip(1)),
        Some(reaper::MEASURE) => options::parse(arguments.skip(1), &measure::PARTS)
            .map_or_else(|code| code, |options| session::run(&options)),
        _ => {
            let arguments: Vec<_> = arguments.collect();
            options::parse(arguments.iter().cloned(), &measure::PARTS)
                .map_or_else(|code| code, |options| reaper::guard(&options, &arguments))
        }
    }
}
