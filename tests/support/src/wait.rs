//! Waiting for an event, with a bound.

use std::time::{Duration, Instant};

/// How long any event may take. Far above what it needs on a busy machine; only a failing test waits that long.
pub const BOUND: Duration = Duration::from_secs(60);

/// Between two looks at the same thing.
const INTERVAL: Duration = Duration::from_millis(4);

/// Calls `find` until it returns something, for at most [`BOUND`]. `None` if it never did.
pub fn wait_for<T>(find: impl FnMut() -> Option<T>) -> Option<T> {
    wait_for_within(BOUND, find)
}

/// Calls `find` until it returns something, for at most `bound`. `None` if it never did.
pub fn wait_for_within<T>(bound: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if start.elapsed() > bound {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Waits until `find` returns something. A panic names the event.
#[track_caller]
pub fn expect<T>(event: &str, find: impl FnMut() -> Option<T>) -> T {
    wait_for(find).unwrap_or_else(|| panic!("not within {BOUND:?}: {event}"))
}

/// Waits until `holds` returns true. A panic names the condition.
#[track_caller]
pub fn eventually(condition: &str, mut holds: impl FnMut() -> bool) {
    expect(condition, || holds().then_some(()));
}
