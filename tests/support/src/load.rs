//! Load: clients that send requests while a test does something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::eventually;

/// Clients, each in a thread of its own. They stop when this is dropped, in a failing test, too.
pub struct Load {
    state: Arc<LoadState>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients of a load share.
pub struct LoadState {
    stop: AtomicBool,
    answered: AtomicU64,
    start: Instant,
}

/// The clients stop after this time, whatever happens.
const LONGEST: Duration = Duration::from_secs(240);

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

impl Load {
    /// A load without clients.
    pub fn new() -> Self {
        let state = LoadState {
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            start: Instant::now(),
        };
        Self {
            state: Arc::new(state),
            clients: Vec::new(),
        }
    }

    /// Starts a client. It must return soon after [`LoadState::goes_on`] has returned false.
    pub fn spawn(&mut self, client: impl FnOnce(&LoadState) + Send + 'static) {
        let state = Arc::clone(&self.state);
        self.clients
            .push(std::thread::spawn(move || client(&state)));
    }

    /// Waits until so many more requests are answered.
    #[track_caller]
    pub fn wait_answers(&self, more: u64) {
        let answered = || self.state.answered.load(Ordering::Relaxed);
        let wanted = answered() + more;
        eventually(&format!("{more} more requests are answered"), || {
            answered() >= wanted
        });
    }

    /// Stops the clients.
    #[track_caller]
    pub fn stop(mut self) {
        assert!(self.state.goes_on(), "the load ended after {LONGEST:?}");
        self.state.stop.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut self.clients);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    }
}

impl LoadState {
    /// Whether the client is to send another request.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.start.elapsed() < LONGEST
    }

    /// Counts a request that was answered.
    pub fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}
