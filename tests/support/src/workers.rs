//! Workers that are shell scripts. They may use two functions: `up` appends `GENERATION PID` to the file `$OUT`, which
//! tells the test that the worker is in place; `rest` waits, without a child process that could outlive the worker.

/// The functions `up` and `rest`; the latter reads from a FIFO that is never written to.
pub(crate) const PRELUDE: &str = "up() { echo \"$SERVER_STARTER_GENERATION $$\" >>\"$OUT\"; }
rest() { while :; do read nothing <>\"$DIR/never\"; done; }
";

/// Lives until a signal ends it: TERM leaves status 15.
pub const SLEEPS: &str = "up; exec sleep 1000";

/// Exits 0 at TERM.
pub const GRACEFUL: &str = "trap 'exit 0' TERM; up; rest";

/// Ignores TERM; KILL ends it, and any other signal.
pub const STUBBORN: &str = "trap '' TERM; up; exec sleep 1000";

/// Exits with status 1 at once.
pub const FAILS: &str = "up; exit 1";

/// Exits with status 1 while the file `$DIR/fail` exists.
pub const FAILS_ON_DEMAND: &str = "up; if [ -e \"$DIR/fail\" ]; then exit 1; fi; exec sleep 1000";
