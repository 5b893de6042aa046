//! Workers made of /bin/sh. Each says `up` once it is in place: `GENERATION PID` appended to the file `$OUT`. Those with
//! traps `rest` then, without a child that could outlive them.

use std::path::PathBuf;

/// Put before every script: the functions `up` and `rest`, which reads from a FIFO where nothing ever comes.
pub(crate) const PRELUDE: &str = "up() { echo \"$SERVER_STARTER_GENERATION $$\" >>\"$OUT\"; }
rest() { while :; do read nothing <>\"$DIR/never\"; done; }
";

/// Lives until a signal ends it: TERM leaves status 15.
pub(crate) const SLEEPS: &str = "up; exec sleep 1000";

/// Exits 0 at TERM.
pub(crate) const GRACEFUL: &str = "trap 'exit 0' TERM; up; rest";

/// Ignores TERM; only KILL (or another signal) ends it.
pub(crate) const STUBBORN: &str = "trap '' TERM; up; exec sleep 1000";

/// Never comes up: exit 1.
pub(crate) const FAILS: &str = "up; exit 1";

/// Exits 1 while there is a file `$DIR/fail`.
pub(crate) const FAILS_ON_DEMAND: &str =
    "up; if [ -e \"$DIR/fail\" ]; then exit 1; fi; exec sleep 1000";

/// The example worker that answers HTTP on every socket it is given.
#[track_caller]
pub(crate) fn hello() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let hello = me
        .parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples/hello");
    assert!(
        hello.exists(),
        "{} is missing: cargo build --example hello",
        hello.display()
    );
    hello
}
